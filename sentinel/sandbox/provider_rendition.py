"""An answer of the provider's simulator, whatever the endpoint, ready to be played; events and torn writes. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import orjson

from sentinel.sandbox.provider_script import Script

EVENT_STREAM = "text/event-stream; charset=utf-8"
_SIZES = (1, 2, 3, 5, 7, 11, 13, 17, 19, 23)
_ERROR = {"message": "The server had an error while processing your request.", "type": "server_error"}
Events = Iterator[tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which call an answer belongs to. `created` is in seconds since 1970."""

    seq: int
    created: int

    def ident(self, kind: str) -> str:
        """The id of something that this call makes; another one after a restart, when the numbers begin again."""
        return f"{kind}sandbox{self.created:08x}{self.seq:08x}"


def _nothing() -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Rendition:
    """One answer. It is rendered when it is played, not before.

    tokens: what is generated in all, `hidden` of it before the first piece. pauses: intervals before a plain answer.
    body: the plain answer; events: the parts of a streamed one, each with its pieces. error: what a stream says last.
    """

    script: Script
    model: str | None
    prompt_tokens: int
    body: Callable[[], bytes] = _nothing
    events: Callable[[], Events] | None = None
    error: Callable[[], bytes] = _nothing
    tokens: int = 0
    hidden: int = 0
    pauses: int = 0
    content_type: str = "application/json"


def document(value: dict[str, Any], script: Script) -> bytes:
    """A plain answer's JSON."""
    if script.padding:
        value["padding"] = "x" * script.padding
    return orjson.dumps(value)


class Sse:
    """Server-sent events as a script wants them: line ends, and comments between."""

    __slots__ = ("_comment", "_line")

    def __init__(self, script: Script) -> None:
        self._line = b"\r\n" if script.crlf else b"\n"
        self._comment = b": keep-alive" + self._line * 2 if script.comments else b""

    def event(self, data: bytes, name: bytes = b"") -> bytes:
        """One event, with or without a name."""
        named = b"event: " + name + self._line if name else b""
        return self._comment + named + b"data: " + data + self._line * 2

    def typed(self, value: dict[str, Any]) -> bytes:
        """An event whose name is its type."""
        return self.event(orjson.dumps(value), value["type"].encode())

    def untyped(self, value: dict[str, Any]) -> bytes:
        """An event without a name."""
        return self.event(orjson.dumps(value))


def stream_error(script: Script) -> dict[str, object]:
    """The error with which a stream ends in its middle."""
    return {"error": script.error or {**_ERROR, "param": None, "code": None}}


class Splitter:
    """Tears a stream into writes that respect neither events nor characters; or into writes of the sizes given."""

    def __init__(self, how: str | Sequence[int]) -> None:
        self._how = how
        self._sizes = cycle(_SIZES if isinstance(how, str) else how)
        self._size = next(self._sizes)
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The writes that are due; what is too short for one waits for more."""
        if self._how == "none":
            yield data
        elif self._how == "bytes":
            for at in range(len(data)):
                yield data[at : at + 1]
        else:
            yield from self._cut(data)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        begin = 0
        while len(self._rest) - begin >= self._size:
            end = begin + self._size
            part, begin = self._rest[begin:end], end
            self._size = next(self._sizes)
            yield part
        self._rest = self._rest[begin:]

    def flush(self) -> bytes:
        """What still waits."""
        rest, self._rest = self._rest, b""
        return rest
