"""The connections to one origin: the one that was idle for the shortest time first, a new one when none is idle."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from sentinel.lib.http1.connect import Origin, Refused, connect
from sentinel.lib.http1.connection import Connection
from sentinel.lib.http1.response import NotSent, Response


class Pool:
    """The connections to one origin."""

    def __init__(
        self, origin: Origin, *, connect_seconds: float, idle_seconds: float, most_idle: int, most: int
    ) -> None:
        self._origin = origin
        self._connect_seconds, self._idle_seconds = connect_seconds, idle_seconds
        self._most_idle, self._most = most_idle, most
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._opening = 0
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    async def request(
        self,
        request: bytes,
        on_write: Callable[[], None] = lambda: None,
        body: AsyncIterator[bytes] | None = None,
    ) -> Response:
        """Send a request, wait for the head of its answer. Raises NotSent, Broken, and what `body` raises, whose pieces
        follow the request as they come. The caller bounds the wait.

        `on_write` is called just before the first byte may leave: one who is cancelled earlier has sent nothing.
        """
        connection = self._take() or await self._connect()
        on_write()
        response = connection.exchange(request)
        try:
            if body is not None:
                await connection.send(body, response)
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    def release(self, connection: Connection) -> None:
        """A connection is idle again."""
        now = connection.idle_since = self._loop.time()
        idle = self._idle
        idle.append(connection)
        while len(idle) > self._most_idle or idle[0].idle_since <= now - self._idle_seconds < now:
            idle.popleft().abort()

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)

    def close(self) -> None:
        """Close all connections; from here on every request is `NotSent`."""
        self._is_closed = True
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()

    def _take(self) -> Connection | None:
        """The connection that was idle for the shortest time; those that the other side may be closing are dropped."""
        oldest = self._loop.time() - self._idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        if self._is_closed:
            raise NotSent("closed")
        if len(self._open) + self._opening >= self._most:
            raise NotSent("all connections are in use")
        self._opening += 1
        try:
            async with asyncio.timeout(self._connect_seconds):
                connection = await connect(self._origin, lambda: Connection(self))
        except TimeoutError as error:
            raise NotSent("no connection in time", is_late=True) from error
        except (OSError, ValueError, Refused) as error:  # TLS' errors are OSErrors, bad names and ports ValueErrors
            raise NotSent(f"no connection: {type(error).__name__}") from error
        finally:
            self._opening -= 1
        if self._is_closed or not connection.is_usable:
            connection.abort()
            raise NotSent("the connection ended as soon as it was made")
        self._open.add(connection)
        return connection
