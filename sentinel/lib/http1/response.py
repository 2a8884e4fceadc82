"""One answer as its reader sees it: a head, then a body that comes in pieces, then an end or an error."""

import asyncio
from typing import Protocol

from sentinel.exceptions import SentinelError

Headers = list[tuple[bytes, bytes]]


class NotSent(SentinelError):
    """No connection could be made: provably nothing has left. `is_late` when the time was up."""

    def __init__(self, reason: str, *, is_late: bool = False) -> None:
        self.is_late = is_late
        super().__init__(reason)


class Broken(SentinelError):
    """The connection ended, or said something that is not HTTP, after the request may have left."""


class Carrier(Protocol):
    """The connection that an answer comes by."""

    def resume(self) -> None: ...
    def abort(self) -> None: ...


class Response:
    """One answer. Its head is there once the pool returns it; the body comes by `read_some`."""

    __slots__ = ("_buffer", "_connection", "_error", "_head", "_waiter", "headers", "is_complete", "size", "status")

    def __init__(self, connection: "Carrier") -> None:
        self.status = 0
        self.headers: Headers = []
        self.is_complete = False
        self.size = 0  # bytes that wait to be read
        self._buffer: list[bytes] = []
        self._connection: Carrier | None = connection
        self._head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter: asyncio.Future[None] | None = None
        self._error: Broken | None = None

    async def read_some(self) -> bytes:
        """What has arrived of the body, b"" at its end. Raises Broken once all that came before is read."""
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self.is_complete:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        parts, self._buffer, self.size = self._buffer, [], 0
        if self._connection is not None:
            self._connection.resume()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def header(self, name: bytes) -> bytes:
        """A header's value, b"" without it; `name` in lower case."""
        return next((value for key, value in self.headers if key == name), b"")

    def close(self) -> None:
        """Done with it: a connection whose message is not complete is of no use to anybody."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    @property
    def answered(self) -> asyncio.Future[None]:
        """Done once the head is there, or never will be."""
        return self._head

    async def head(self) -> None:
        """Wait for status and headers. Raises Broken."""
        await self._head

    def add(self, data: bytes) -> int:
        """More of the body; returns how much waits."""
        self._buffer.append(data)
        self.size += len(data)
        self._wake()
        return self.size

    def begin(self) -> None:
        """Status and headers are there."""
        if not self._head.done():
            self._head.set_result(None)

    def end(self, error: Broken | None = None) -> None:
        """The message is complete, or will never be."""
        self._connection = None
        if error is None:
            self.is_complete = True
        else:
            self._error = error
        if not self._head.done():
            self._head.set_exception(error or Broken("no answer"))
            self._head.exception()  # the caller may be gone
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
