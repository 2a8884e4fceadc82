"""Values of accounting: tokens, their details and the usage event. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import orjson

VERSION = 1
_EMPTY = b',"details":{}}'
_Part = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Source(StrEnum):
    """How the figures of an event are known."""

    PROVIDER = "provider"  # the provider reported them: exact
    ESTIMATE = "estimate"  # complete answer, counted by us
    PARTIAL = "partial"  # answer cut short, counted by us
    REAPED = "reaped"  # the worker died; bounded by what was held


class Details(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Parts of a call's input and output as the provider told them apart. They add nothing to either.

    A Struct, because it is written without its zeros and made on the request path.
    """

    cached_input: _Part = 0
    audio_input: _Part = 0
    image_input: _Part = 0
    reasoning_output: _Part = 0
    audio_output: _Part = 0

    def told(self) -> dict[str, int]:
        """Those that are not zero, by name."""
        told: dict[str, int] = msgspec.to_builtins(self)
        return told


NO_DETAILS = Details()


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
    details: Details = NO_DETAILS  # the last member: settle and `to_json` take it off by its text

    def to_json(self) -> bytes:
        """The event as it stands in the stream and the journal; details only where there are any."""
        written = b'{"v":%d,' % VERSION + orjson.dumps(self, default=msgspec.to_builtins)[1:]
        return written[: -len(_EMPTY)] + b"}" if written.endswith(_EMPTY) else written

    @classmethod
    def from_json(cls, raw: bytes) -> "UsageEvent":
        """Read an event back. Raises ValueError for another version or shape."""
        fields = orjson.loads(raw)
        if not isinstance(fields, dict) or fields.pop("v", None) != VERSION:
            raise ValueError("not a usage event of this version")
        details = _details(fields.pop("details", {}))
        try:
            return cls(**{**fields, "source": Source(fields["source"]), "details": details})
        except (KeyError, TypeError) as error:
            raise ValueError("not a usage event of this version") from error


def _details(written: Any) -> Details:
    """An event is worth more than its details: what cannot be read of them is as if it were not there."""
    try:
        return msgspec.convert(written, Details)
    except msgspec.ValidationError:
        return NO_DETAILS
