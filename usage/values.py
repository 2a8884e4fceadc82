"""Values of accounting: tokens and the usage event. Pure."""

from dataclasses import dataclass
from enum import StrEnum

import orjson

VERSION = 1


class Source(StrEnum):
    """How the figures of an event are known."""

    PROVIDER = "provider"  # the provider reported them: exact
    ESTIMATE = "estimate"  # complete answer, counted by us
    PARTIAL = "partial"  # answer cut short, counted by us
    REAPED = "reaped"  # the worker died; bounded by what was held


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One settled call. `call_id` was minted by us before dispatch and never changes; times are UTC in ms."""

    call_id: str
    user_id: str
    external_id: str
    email: str
    model: str
    endpoint: str
    input: int
    output: int
    requests: int
    source: Source
    admitted_ms: int
    request_id: str = ""

    def to_json(self) -> bytes:
        """The event as it stands in the stream and the journal."""
        return b'{"v":%d,' % VERSION + orjson.dumps(self)[1:]

    @classmethod
    def from_json(cls, raw: bytes) -> "UsageEvent":
        """Read an event back. Raises ValueError for another version or shape."""
        fields = orjson.loads(raw)
        if not isinstance(fields, dict) or fields.pop("v", None) != VERSION:
            raise ValueError("not a usage event of this version")
        try:
            return cls(**{**fields, "source": Source(fields["source"])})
        except (KeyError, TypeError) as error:
            raise ValueError("not a usage event of this version") from error
