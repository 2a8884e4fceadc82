"""One pipelined connection to Redis for one event loop.

1. Commands of one loop turn are written together (`_flush`), replies come back in order.
2. Every command has the same deadline, so the oldest waiting one is the first to lapse: one timer watches it.
3. When it lapses, or the connection breaks, everything waiting fails and the connection is dropped: a late reply can
   never be read as the answer to another command. The next command connects again.
"""

import asyncio
import ssl
from collections import deque
from typing import Any

import hiredis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from sentinel.exceptions import SentinelError

_REASONS = {
    "NOSCRIPT": "noscript",
    "OOM": "full",
    "READONLY": "readonly",
    "LOADING": "loading",
    "MISCONF": "disk",
    "BUSY": "busy",
    "NOAUTH": "noauth",
    "WRONGPASS": "noauth",
    "MASTERDOWN": "down",
    "CLUSTERDOWN": "down",
}


_GRACE_SECONDS = 0.005


class RedisUnavailable(SentinelError):
    """Redis could not answer. `reason` is from a closed set and labels a metric; the outcome may be unknown."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"Redis: {reason}{': ' if detail else ''}{detail}")


def refusal(message: str) -> RedisUnavailable:
    """The error for a reply that Redis marked as an error: by its first word."""
    return RedisUnavailable(_REASONS.get(message.partition(" ")[0], "error"), message[:200])


class RespClient:
    """Commands to one Redis server. Not for blocking commands: they would hold up the replies behind them."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._target: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has no type for it
        self._timeout = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._unsent: list[tuple[float, asyncio.Future[Any], bytes]] = []
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._connecting: asyncio.Task[None] | None = None
        self._flush_planned = False
        self._watch: asyncio.TimerHandle | None = None
        self._given_grace = 0.0
        self.run_id = ""
        self.connections = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return self._transport is not None

    def command(self, *args: Any) -> asyncio.Future[Any]:
        """Send one command; the future gives its reply (bytes, int, list, None) or raises RedisUnavailable."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._unsent.append((self._loop.time() + self._timeout, future, hiredis.pack_command(args)))
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)
        return future

    def close(self) -> None:
        """Drop the connection; what waits fails."""
        if self._connecting is not None:
            self._connecting.cancel()
        self._drop(RedisUnavailable("closed"))

    def _flush(self) -> None:
        self._flush_planned = False
        if self._watch is None and (self._unsent or self._waiting):
            self._watch = self._loop.call_later(self._timeout, self._lapse)
        if self._transport is None:
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
            return
        self._transport.write(b"".join([packed for _, _, packed in self._unsent]))
        self._waiting.extend([(deadline, future) for deadline, future, _ in self._unsent])
        self._unsent.clear()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                transport, protocol = await self._open()
                await protocol.greet(self._greeting())
        except TimeoutError:
            self._drop(RedisUnavailable("slow", "connecting"))
        except (OSError, RedisUnavailable) as error:
            self._drop(error if isinstance(error, RedisUnavailable) else RedisUnavailable("unreachable", str(error)))
        else:
            self._transport, self.run_id, self._reader = transport, protocol.run_id, protocol.reader
            self.connections += 1
            protocol.owner = self
        finally:
            self._connecting = None
        if self._transport is not None and self._unsent:
            self._flush()

    async def _open(self) -> tuple[asyncio.Transport, "_Protocol"]:
        target = self._target
        if target.get("connection_class") is UnixDomainSocketConnection:
            return await self._loop.create_unix_connection(_Protocol, target["path"])
        secure = ssl.create_default_context() if target.get("connection_class") is SSLConnection else None
        host, port = target.get("host", "localhost"), target.get("port", 6379)
        return await self._loop.create_connection(_Protocol, host, port, ssl=secure)

    def _greeting(self) -> list[tuple[Any, ...]]:
        target = self._target
        commands: list[tuple[Any, ...]] = []
        if target.get("password"):
            commands.append(("AUTH", *([target["username"]] if target.get("username") else []), target["password"]))
        if target.get("db"):
            commands.append(("SELECT", target["db"]))
        return [*commands, ("INFO", "server")]

    def received(self, reader: hiredis.Reader) -> None:
        """Hand each complete reply to the oldest waiting command."""
        while (reply := reader.gets()) is not False:
            _, future = self._waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                future.set_exception(refusal(str(reply)))
            else:
                future.set_result(reply)

    def lost(self, error: Exception | None) -> None:
        """The server went away: what was sent has an unknown outcome."""
        self._drop(RedisUnavailable("unreachable", str(error or "connection closed")))

    def _lapse(self) -> None:
        self._watch = None
        oldest = self._waiting[0][0] if self._waiting else self._unsent[0][0] if self._unsent else None
        if oldest is None:
            return
        wait = oldest - self._loop.time()
        if wait <= 0 and oldest != self._given_grace:
            # Timers run before sockets: after a stall of our own loop the answer may be there, unread.
            self._given_grace, wait = oldest, _GRACE_SECONDS
        if wait > 0:
            self._watch = self._loop.call_later(wait, self._lapse)
        else:
            self._drop(RedisUnavailable("slow", f"no answer within {self._timeout} s"))

    def _drop(self, error: RedisUnavailable) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        failed = [future for _, future in self._waiting] + [future for _, future, _ in self._unsent]
        self._waiting.clear()
        self._unsent.clear()
        for future in failed:
            if not future.done():
                future.set_exception(error)


class _Protocol(asyncio.Protocol):
    """Bytes to replies. Replies before `owner` is set belong to the greeting."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.owner: RespClient | None = None
        self.run_id = ""
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._replies_due = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def greet(self, commands: list[tuple[Any, ...]]) -> None:
        self._replies_due = len(commands)
        self._transport.write(b"".join(hiredis.pack_command(command) for command in commands))  # type: ignore[attr-defined]
        try:
            await self._greeted
        except BaseException:
            self._transport.abort()  # type: ignore[attr-defined]
            raise

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        if self.owner is not None:
            self.owner.received(self.reader)
            return
        while self._replies_due and (reply := self.reader.gets()) is not False:
            self._replies_due -= 1
            if isinstance(reply, hiredis.ReplyError):
                self._finish(refusal(str(reply)))
            elif not self._replies_due:
                self.run_id = _run_id(reply)
                self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.owner is not None:
            self.owner.lost(exc)
        self._finish(RedisUnavailable("unreachable", str(exc or "connection closed")))

    def _finish(self, error: RedisUnavailable | None) -> None:
        if self._greeted.done():
            return
        if error is None:
            self._greeted.set_result(None)
        else:
            self._greeted.set_exception(error)
            self._greeted.exception()


def _run_id(info: bytes) -> str:
    """The id that changes when the server restarts, from INFO."""
    for line in info.splitlines():
        if line.startswith(b"run_id:"):
            return line[7:].decode("ascii")
    return ""
