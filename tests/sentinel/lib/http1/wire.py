"""A connection without a socket: bytes go in exactly as a test cuts them."""

import asyncio

from sentinel.lib.http1.connection import Connection
from sentinel.lib.http1.response import Broken, Response
from tests.sentinel.lib.http1.origin import REQUEST


class Wire(asyncio.Transport):
    """The end of a connection that only remembers what was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_paused = self.is_aborted = False
        self.unwritten = 0

    def write(self, data: object) -> None:
        self.written += bytes(data)  # type: ignore[call-overload]

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def get_write_buffer_size(self) -> int:
        return self.unwritten


class Exchange:
    """One request on a connection of its own, and what became of the connection."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.released: list[Connection] = []
        self.lost_count = 0
        self.connection = Connection(self)
        self.connection.connection_made(self.wire)
        self.response = self.connection.exchange(REQUEST)

    def release(self, connection: Connection) -> None:
        self.released.append(connection)

    def lost(self, connection: Connection) -> None:
        self.lost_count += 1

    @property
    def may_be_used_again(self) -> bool:
        return bool(self.released) and self.connection.is_usable

    def feed(self, *pieces: bytes) -> None:
        """As the loop does: nothing comes once the connection is aborted."""
        for piece in pieces:
            if piece and not self.wire.is_aborted:
                self.connection.data_received(piece)

    def end(self, error: Exception | None = None) -> None:
        """The other side closes, or resets."""
        if error is None and not self.wire.is_aborted:
            self.connection.eof_received()
        self.connection.connection_lost(error)


async def outcome(response: Response) -> tuple[int, list[tuple[bytes, bytes]], bytes, str]:
    """Status, headers, body and how it ended; an answer that still waits for more is `open`."""
    body = b""
    try:
        async with asyncio.timeout(0):
            await response.head()
        while True:
            async with asyncio.timeout(0):
                part = await response.read_some()
            if not part:
                return response.status, response.headers, body, "complete"
            body += part
    except TimeoutError:
        return response.status, response.headers, body, "open"
    except Broken:
        return response.status, response.headers, body, "broken"
