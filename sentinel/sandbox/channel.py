"""The way back to one client: whole answers, streams, silence, and connections that break."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[str, str], ...]

JSON: Headers = (("content-type", "application/json"),)
BYTES: Headers = (("content-type", "application/octet-stream"),)
# Below this a plain sleep is precise enough; above it, a client that leaves must end the wait.
_SHORT_SECONDS = 0.05
_FLUSH_TURNS = 2_000
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: Headers = JSON

    def all_headers(self) -> Headers:
        """The headers with the body's length."""
        return (*self.headers, ("content-length", str(len(self.body))))

    def on_the_wire(self) -> bytes:
        """The answer as the bytes of HTTP/1.1, for those who mean to send only some of them."""
        lines = [f"HTTP/1.1 {self.status} Sandbox", *(f"{name}: {value}" for name, value in self.all_headers())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def json_reply(status: int, value: object, headers: Headers = ()) -> Reply:
    """An answer with a JSON body."""
    return Reply(status, orjson.dumps(value), JSON + headers)


class Channel:
    """The way back to one client, and the news that it left.

    `on_gone` is called at the instant at which the client is seen leaving, once watching.
    """

    __slots__ = ("_finished", "_receive", "_send", "_watcher", "gone", "on_gone")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._finished = False
        self._watcher: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        self.on_gone: Callable[[], None] | None = None

    def watch(self) -> None:
        """Begin to listen for the client leaving. Call only after the body was read."""
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        if not self._finished:
            self.gone.set()
            if self.on_gone is not None:
                self.on_gone()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the client stays."""
        if seconds <= _SHORT_SECONDS:
            await asyncio.sleep(max(seconds, 0))
            return
        self.watch()
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return

    async def hang(self) -> None:
        """Say nothing until the client leaves."""
        self.watch()
        await self.gone.wait()

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> bool:
        """Send the last part of the body; whether the client was still there to take it."""
        self._finished = not self.gone.is_set()
        await self._send({"type": "http.response.body", "body": data})
        return self._finished

    async def reply(self, answer: Reply) -> bool:
        """Send a whole answer; whether the client was still there to take it."""
        await self.start(answer.status, answer.all_headers())
        return await self.finish(answer.body)

    async def reset(self, last_words: bytes = b"") -> None:
        """Put `last_words` on the wire as they are, then end the connection with a TCP reset.

        ASGI has no word for this: an application that fails before its first byte gets a polite 500 from uvicorn.
        Therefore this takes the transport from behind uvicorn's own `send`. Raises TypeError under another server.
        """
        self._finished = True
        transport = _transport_of(self._send)
        if not transport.is_closing():
            transport.write(last_words)
            await _flush(transport)
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            transport.abort()
        # Returning before uvicorn noticed would make it append a 500 to an answer it believes unfinished.
        while (await self._receive())["type"] != "http.disconnect":
            continue

    def close(self) -> None:
        """Stop listening."""
        if self._watcher is not None:
            self._watcher.cancel()


def _transport_of(send: Send) -> asyncio.Transport:
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if not hasattr(transport, "abort"):
        raise TypeError("cutting a connection needs uvicorn without a wrapper around send")
    # uvloop's transport does not inherit from asyncio's.
    return cast(asyncio.Transport, transport)


async def _flush(transport: asyncio.Transport) -> None:
    """Let the loop write what is buffered: an abort would throw it away."""
    for _ in range(_FLUSH_TURNS):
        await asyncio.sleep(0)
        if transport.get_write_buffer_size() == 0:
            return
