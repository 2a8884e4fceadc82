"""Events that the journal brought back to a Redis that had lost them: sent only if the history does not have them.

"Seen" is not "delivered": only a row of the history, written after Zion confirmed, keeps an event from being sent.
"""

from collections.abc import Sequence
from pathlib import Path

import structlog

from limits import keys as ledger_keys
from sentinel.lib.redis import Script
from usage import keys
from usage.aggregate import Entry
from usage.models import CallRecord
from usage.values import UsageEvent

log = structlog.get_logger(__name__)
_DROP = Script(Path(__file__).parent / "lua" / "drop.lua")


def unsent(shard: int, entries: Sequence[Entry]) -> list[Entry]:
    """The entries that may be sealed. Raises RedisUnavailable and DatabaseError."""
    returned = [entry.call_id for entry in entries if entry.is_returned]
    if not returned:
        return list(entries)
    known = set(CallRecord.objects.filter(call_id__in=returned).values_list("call_id", flat=True))
    for entry in entries:
        if entry.is_returned and entry.call_id in known:
            user = ledger_keys.user(UsageEvent.from_json(entry.event).external_id)
            _DROP.run([keys.stream(shard), user], [entry.id, entry.call_id, entry.charges])
            log.warning("usage_was_delivered_before", call=entry.call_id)
    return [entry for entry in entries if not entry.is_returned or entry.call_id not in known]
