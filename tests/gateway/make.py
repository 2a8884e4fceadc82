"""Factories of calls, and stand-ins for what surrounds a relay: a provider's reply, a lease, a client."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from gateway.bodies import Body
from gateway.call import Call
from gateway.estimate import read_chat
from limits.values import Grant, RateState
from tests.limits.make import make_principal

CALL_ID = "0199" * 8


def make_call(
    *, stream: bool = True, wants_usage: bool = False, metered: bool = True, client_id: str = "", **body: Any
) -> Call:
    """A chat completion of Ada's; `metered=False` is a list of models."""
    fields: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    if wants_usage:
        fields["stream_options"] = {"include_usage": True}
    parsed = Body.parse(orjson.dumps(fields | body)) if metered else None
    return Call(
        call_id=CALL_ID,
        principal=make_principal(),
        endpoint="chat.completions" if metered else "models",
        method="POST" if metered else "GET",
        path="/chat/completions" if metered else "/models",
        headers=[],
        body=parsed,
        estimate=read_chat(parsed, count_words) if parsed else None,
        cap_field="max_completion_tokens",
        request_id=client_id,
    )


def count_words(text: str, _model: str) -> int:
    return len(text.split())


def make_grant(*, cap: int | None = 100, held_input: int = 50, held_output: int = 100) -> Grant:
    return Grant(CALL_ID, 0, "ext-ada", 1_780_000_000_000, cap, held_input, held_output, RateState(100, 99, 60_000))


def event(**fields: Any) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}], usage=None)


def usage_chunk(read: int = 9, written: int = 2) -> bytes:
    return event(
        choices=[], usage={"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    )


DONE = b"data: [DONE]\n\n"


class FakeReply:
    """A provider's stream in the given pieces; an exception among them is raised, an Event is waited for."""

    status = 200

    def __init__(self, pieces: Iterable[Any], log: list[str] | None = None) -> None:
        self._pieces = iter(pieces)
        self.log = log if log is not None else []
        self.closed = 0
        self.headers = [(b"content-type", b"text/event-stream")]

    async def read_some(self) -> bytes:
        piece = next(self._pieces, b"")
        if isinstance(piece, BaseException):
            raise piece
        if isinstance(piece, asyncio.Event):
            self.log.append("waiting")
            await piece.wait()
            return await self.read_some()
        return bytes(piece)

    def close(self) -> None:
        self.closed += 1


class FakeLease:
    """A lease that never needs more room, or asks at each event."""

    def __init__(self, asks_at: int = 1 << 60, log: list[str] | None = None) -> None:
        self.asks_at = asks_at
        self.log = log if log is not None else []

    async def advance(self, passed: int, tokens: Callable[[], int]) -> None:
        self.log.append(f"room for more than {passed}, {tokens()} tokens")
        self.asks_at = passed + 1


class RoomyLease(FakeLease):
    """Gives `room` tokens at a time, by the rule of the real one; `told` is what its Redis would know."""

    def __init__(self, room: int) -> None:
        super().__init__(room)
        self.room = self.told = room

    async def advance(self, passed: int, tokens: Callable[[], int]) -> None:
        self.told, self.asks_at = tokens() + self.room, passed + self.room


class FakeClient:
    """Takes what is sent; `blocks` is an Event that the next send waits for."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.log = log if log is not None else []
        self.messages: list[Any] = []
        self.blocks: asyncio.Event | None = None

    async def __call__(self, message: Any) -> None:
        self.log.append("sending" if self.blocks else "sent " + message["body"].decode("utf-8", "replace")[:20])
        if self.blocks is not None:
            await self.blocks.wait()
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", False)
