"""The provider of the streaming rounds: one event per stream every 10 ms (500 ms for the slow model), and cheap.

`python -m tests.benchmarks.upstream PORT`. Raw protocol objects on uvloop, and one timer of 1 ms for all streams: each
stream keeps the pace of its own start, so that they do not all beat at once. It takes about 10 us of the load core per
event, a tenth of it at 10,000 events a second, so it needs no C.
"""

import asyncio
import sys
from collections import deque
from typing import cast

import uvloop

from tests.benchmarks.payloads import SLOW_MODEL, events

FAST_SECONDS, SLOW_SECONDS = 0.010, 0.500
_TICK_SECONDS = 0.001
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_5ad0cd3b4a7d4f4c\r\ntransfer-encoding: chunked\r\nx-accel-buffering: no\r\n\r\n"
)
_CHUNKS = [b"%x\r\n%b\r\n" % (len(event), event) for event in events()]
_SLOW = b'"model":"%b"' % SLOW_MODEL.encode()
_LENGTH = b"content-length:"


class Pace:
    """All streams of one interval, the next to be served in front."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.waiting: deque[tuple[float, Stream]] = deque()

    def serve(self, now: float) -> None:
        """Send what is due."""
        waiting = self.waiting
        while waiting and waiting[0][0] <= now:
            due, stream = waiting.popleft()
            if stream.send_next():
                waiting.append((due + self.seconds, stream))


class Stream(asyncio.Protocol):
    """One connection; requests on it are answered one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fast: Pace, slow: Pace) -> None:
        self._loop, self._fast, self._slow = loop, fast, slow
        self._seen = b""
        self._next = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are not its subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, body = self._seen.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
        if len(body) < int(length or b"0"):
            return
        self._seen, self._next = b"", 0
        pace = self._slow if _SLOW in body else self._fast
        pace.waiting.append((self._loop.time() + pace.seconds, self))

    def send_next(self) -> bool:
        """Send the next event; whether there is another."""
        if self._transport is None:
            return False
        at = self._next
        self._next += 1
        if at >= EVENTS_LAST:
            self._transport.write(b"".join(_CHUNKS[at:]) + b"0\r\n\r\n")
            return False
        self._transport.write(_HEAD + _CHUNKS[at] if at == 0 else _CHUNKS[at])
        return True


EVENTS_LAST = len(_CHUNKS) - 2  # the usage and [DONE] come together, as providers send them


async def serve(port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    fast, slow = Pace(FAST_SECONDS), Pace(SLOW_SECONDS)

    def tick() -> None:
        now = loop.time()
        loop.call_at(now + _TICK_SECONDS, tick)
        fast.serve(now)
        slow.serve(now)

    server = await loop.create_server(lambda: Stream(loop, fast, slow), "127.0.0.1", port, backlog=4096)
    tick()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
