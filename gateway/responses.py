"""Responses that carry the provider's bytes: headers as ASGI has them, nothing re-encoded."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from django.http import HttpResponseBase

from sentinel.exceptions import ShuttingDown
from sentinel.lib.asgi import Send

Headers = list[tuple[bytes, bytes]]


class RelayResponse(HttpResponseBase):
    """A plain answer as it came. Skips Django's header machinery, which the provider's headers do not need."""

    streaming = False

    def __init__(self, status: int, headers: Headers, content: bytes) -> None:
        self.status_code = status
        self.asgi_headers = headers
        self.content = content

    def items(self) -> Iterator[tuple[str, str]]:
        """The headers as text, for whoever looks at them."""
        return ((name.decode("ascii"), value.decode("latin-1")) for name, value in self.asgi_headers)

    def close(self) -> None:
        """Nothing to close."""


class StreamResponse(RelayResponse):
    """A stream that its owner passes on: `relay` gets the way out and returns at its end."""

    streaming = True

    def __init__(
        self, status: int, headers: Headers, relay: Callable[[Send], Awaitable[None]], abandon: Callable[[], None]
    ) -> None:
        super().__init__(status, [*headers, (b"x-accel-buffering", b"no")], b"")
        self._relay = relay
        self._abandon = abandon

    async def send_to(self, send: Send) -> None:
        """Pass the stream on."""
        await self._relay(send)

    def close(self) -> None:
        """It was never sent, or is over: its owner must not wait for a way out."""
        self._abandon()


class Gate:
    """The way out of a stream, which opens when the request is ready to send."""

    def __init__(self, way_out: asyncio.Future[Send]) -> None:
        self._way_out = way_out
        self._send: Send | None = None

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if self._send is None:
            self._send = await asyncio.shield(self._way_out)
        await self._send(message)


async def nowhere(_message: MutableMapping[str, Any]) -> None:
    """The way out of an answer whose client is gone."""


async def response_of(owner: asyncio.Future[RelayResponse]) -> RelayResponse:
    """Wait without owning. A server whose grace time is over cancels its requests: their callers are told."""
    try:
        return await asyncio.shield(owner)
    except asyncio.CancelledError:
        raise ShuttingDown(should_retry=False) from None
