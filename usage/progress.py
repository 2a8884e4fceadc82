"""How much of a stream may have been passed on while Redis could not be told: kept in the journal for its adopter.

Should the owner die before Redis is back, its reaper would know too little, and record less than the client received.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from limits import keys as ledger_keys

_MARK = b'{"progress":'


@dataclass(frozen=True, slots=True)
class Progress:
    """An open call, and how much output its owner may have passed on, in tokens."""

    call_id: str
    shard: int
    received: int

    def to_json(self) -> bytes:
        """The record as it stands in the journal."""
        return orjson.dumps({"progress": self.call_id, "shard": self.shard, "received": self.received})

    def extend_call(self) -> tuple[list[str], list[Any]]:
        """Keys and arguments of extend.lua for a call whose owner is gone: its lease ends now."""
        names = [ledger_keys.leases(self.shard), ledger_keys.call(self.shard, self.call_id)]
        return names, [0, self.call_id, self.received]


def is_progress(payload: bytes) -> bool:
    """Whether a record of the journal is of this kind."""
    return payload.startswith(_MARK)


def progress_in(payloads: Iterable[bytes]) -> Iterator[Progress]:
    """The records of this kind."""
    for payload in filter(is_progress, payloads):
        fields = orjson.loads(payload)
        yield Progress(fields["progress"], fields["shard"], fields["received"])
