"""One pass of delivery for one shard: seal what waits, send what is due, until nothing is or the time is up.

1. The oldest events are planned into drafts and sealed. Passes that overlap are harmless: an event is sealed once.
2. Lanes (threads) each take a due batch, send it and write down what became of it. A batch is claimed by one lane.
3. Breaker open: the pass ends and work waits. No permit: the lane waits for the next one, within its time.

Celery only says when; nothing here depends on how often, or by how many processes at once, it is called.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import structlog

from sentinel.lib import metrics
from sentinel.lib.clock import monotonic
from usage import outbox
from usage.aggregate import plan
from usage.batch import Draft, Form, Kind
from usage.returned import unsent
from usage.send import Lanes, Reporter, Terms

log = structlog.get_logger(__name__)

READ_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """What one pass did, in batches unless it says otherwise. `stopped` is why work that is due was left."""

    sealed_events: int = 0
    sealed: int = 0
    sent: int = 0
    applied: int = 0
    applied_items: int = 0
    not_applied: int = 0
    ambiguous: int = 0
    split: int = 0
    rejected: int = 0
    held: int = 0
    dead_items: int = 0
    not_read: int = 0
    stopped: str = ""


def flush(
    shard: int, zion: Reporter, terms: Terms, *, budget_seconds: float = 5.0, stop: Event | None = None
) -> Summary:
    """Deliver what can be delivered now. A batch in hand is finished even when the time is up or `stop` is set.

    Raises RedisUnavailable; what was in hand then is found again by its lease.
    """
    lanes = Lanes(shard, zion, terms, monotonic() + budget_seconds, stop or Event())
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(terms.lanes, thread_name_prefix="delivery") as pool:
        while not lanes.is_over():
            sealed = seal_waiting(shard, terms)
            _, waiting = outbox.due(shard, terms.lanes)
            done = sum(pool.map(lanes.run, range(len(waiting))), Counter[str]())
            counts += sealed + done
            if not (sealed or done["sent"] or done["held"]) or any(name.startswith("stopped:") for name in done):
                break
    return _summary(counts)


def seal_waiting(shard: int, terms: Terms) -> Counter[str]:
    """Seal the oldest waiting events. Raises RedisUnavailable."""
    counts: Counter[str] = Counter()
    entries = unsent(shard, outbox.read(shard, READ_ENTRIES))
    for draft in plan(entries, max_items=terms.max_items):
        for sendable in renderable(draft, terms.form):
            if outbox.seal(shard, sendable, terms.form):
                counts["sealed"] += 1
                counts["sealed_events"] += len(sendable.members)
                counts["dead_items"] += sendable.kind is Kind.DEAD
            if sendable.kind is Kind.DEAD:
                log.error("usage_unreadable", shard=shard, reason=sendable.reason, entry=sendable.members[0].entry_id)
    metrics.USAGE_DEAD.inc(counts["dead_items"])
    return counts


def renderable(draft: Draft, form: Form) -> list[Draft]:
    """The draft itself; or, when its items cannot be written for Zion, its members as dead letters."""
    try:
        if draft.items:
            form.body(draft.items, "batch")
    except ValueError as error:
        return [Draft(Kind.DEAD, (), (member,), f"cannot be rendered: {error}") for member in draft.members]
    return [draft]


def _summary(counts: Counter[str]) -> Summary:
    stopped = next((name.removeprefix("stopped:") for name in counts if name.startswith("stopped:")), "")
    figures = {name: count for name, count in counts.items() if not name.startswith("stopped:")}
    return Summary(**figures, stopped=stopped)  # the counters' names are the fields'
