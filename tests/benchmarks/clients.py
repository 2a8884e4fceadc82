"""Our own clients on raw sockets: latency of plain calls, and many streams at once. Cheap, as they share a core."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from tests.benchmarks import machine, payloads
from tests.benchmarks.stand import TOKEN, Target

_DEADLINE_SECONDS = 30.0
_LAST = b"data: [DONE]\n\n"
_CLOSING = b"0\r\n\r\n"
_STEADY_FROM_SECONDS, _STEADY_SECONDS = 0.3, 0.55  # of the second that a stream lasts


def wire(port: int, body: bytes) -> bytes:
    """A whole request as it goes over the socket."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {TOKEN}\r\n"
        f"content-type: application/json\r\naccept: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection: sends a request, hears when its answer is complete, and notes the times."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.sent = self.first = 0.0
        self.events = 0
        self._seen = b""
        self._done: asyncio.Future[float] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are not its subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(AssertionError(f"the server closed the connection after {self._seen[-400:]!r}"))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    async def call(self) -> float:
        """One call; seconds until its answer was complete. Raises AssertionError when it was not a whole 200."""
        assert self._transport is not None
        self._seen, self.first, self.events = b"", 0.0, 0
        self._done = asyncio.get_running_loop().create_future()
        self.sent = time.perf_counter()
        self._transport.write(self.request)
        return await self._done

    def _end(self, error: AssertionError | None = None) -> None:
        if self._done is None or self._done.done():
            return
        if error:
            self._done.set_exception(error)
        else:
            self._done.set_result(time.perf_counter() - self.sent)

    def check_status(self, data: bytes) -> bool:
        """Whether this is the beginning of a 200; ends the call otherwise."""
        if data.startswith(b"HTTP/1.1 200 "):
            return True
        self._end(AssertionError(f"not a 200: {data[:600]!r}"))
        return False


class PlainConnection(Connection):
    """Answers with a content-length."""

    def data_received(self, data: bytes) -> None:
        seen = self._seen = self._seen + data
        end = seen.find(b"\r\n\r\n")
        if end < 0 or not self.check_status(seen):
            return
        length = seen[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(seen) >= end + 4 + int(length):
            self._end()


class StreamConnection(Connection):
    """Event streams: counts events as they come, knows the end by the last event and the closing chunk."""

    def data_received(self, data: bytes) -> None:
        if not self._seen and not self.check_status(data):
            return
        self.events += data.count(b"data: {")
        if not self.first and self.events:
            self.first = time.perf_counter() - self.sent
        self._seen = self._seen[-40:] + data
        if data.endswith(_CLOSING):
            whole = _LAST in self._seen and self.events >= payloads.EVENTS
            self._end(None if whole else AssertionError(f"{self.events} events, then {self._seen!r}"))


async def connect(kind: Callable[[bytes], Connection], target: Target, body: bytes, count: int) -> list[Connection]:
    """That many connections."""
    loop, request = asyncio.get_running_loop(), wire(target.port, body)
    return [(await loop.create_connection(lambda: kind(request), "127.0.0.1", target.port))[1] for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Streams:
    """One round of streams."""

    cpu_us: float  # of the server, per event, with all that opening and settling the streams cost
    steady_cpu_us: float  # the same while all streams run: what one event more costs
    first_ms: list[float]  # until the first event of each stream, all opened at once; the upstream's is due at 10


async def streams(target: Target, count: int, waves: int) -> Streams:
    """Waves of streams, all opened at once, on the same connections. Raises AssertionError when one is not whole."""
    connections = await connect(StreamConnection, target, payloads.request(stream=True), count)
    cpu = steady_cpu = 0.0
    events = steady_events = 0
    firsts: list[float] = []
    for _ in range(waves):
        begin = machine.cpu_seconds(target.pid)
        calls = [asyncio.ensure_future(connection.call()) for connection in connections]
        await asyncio.wait(calls, timeout=_STEADY_FROM_SECONDS)
        steady = machine.cpu_seconds(target.pid), _heard(connections)
        await asyncio.wait(calls, timeout=_STEADY_SECONDS)
        steady_cpu += machine.cpu_seconds(target.pid) - steady[0]
        steady_events += _heard(connections) - steady[1]
        async with asyncio.timeout(_DEADLINE_SECONDS):
            await asyncio.gather(*calls)
        cpu += machine.cpu_seconds(target.pid) - begin
        events += _heard(connections)
        firsts += [connection.first * 1000 for connection in connections]
    hang_up(connections)
    return Streams(cpu / events * 1e6, steady_cpu / steady_events * 1e6, firsts)


def _heard(connections: Sequence[Connection]) -> int:
    return sum(connection.events for connection in connections)


async def memory_with_streams(target: Target, count: int, seconds: float) -> float:
    """Memory in MB of a server that relays that many slow streams, once each has had its first event."""
    body = payloads.request(payloads.SLOW_MODEL, stream=True)
    connections = await connect(StreamConnection, target, body, count)
    calls = [asyncio.ensure_future(connection.call()) for connection in connections]
    await asyncio.wait(calls, timeout=seconds)
    silent = sum(connection.events == 0 for connection in connections)
    assert not silent, f"{silent} of {count} streams had no event within {seconds:g} s"
    memory = machine.memory_mb(target.pid)
    hang_up(connections)
    await asyncio.gather(*calls, return_exceptions=True)
    return memory


async def latencies(target: Target, concurrent: int, calls: int) -> list[float]:
    """Milliseconds of that many plain calls, so many at a time, each connection calling again at once."""
    connections = await connect(PlainConnection, target, payloads.request(), concurrent)

    async def keep_calling(connection: Connection) -> list[float]:
        await connection.call()  # the first has the connection to accept, perhaps one upstream to open
        return [await connection.call() * 1000 for _ in range(calls // concurrent)]

    async with asyncio.timeout(_DEADLINE_SECONDS):
        taken = await asyncio.gather(*(keep_calling(connection) for connection in connections))
    hang_up(connections)
    return [each for some in taken for each in some]


def hang_up(connections: Sequence[Connection]) -> None:
    """Close them all."""
    for connection in connections:
        connection.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of all lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
