"""One connection to the origin: writes a request, parses the answer, then is idle again or closed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import httptools

from sentinel.lib.http1.response import Broken, Headers, Response

BUFFER_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024  # of a head; also of what may come between two pieces of a body, or after the last


class Keeper(Protocol):
    """Who keeps connections that are idle."""

    def release(self, connection: "Connection") -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """One connection; carries one exchange at a time."""

    def __init__(self, pool: Keeper) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._is_paused = False
        self._is_sending = False  # a body whose pieces are still to come
        self._writable: asyncio.Future[None] | None = None  # while what was written waits to leave
        self._quiet_bytes = 0  # received since the request, or since the last piece of the body
        self.idle_since = 0.0
        self.is_open = True

    @property
    def is_usable(self) -> bool:
        """Whether a request may be written: nobody has closed it, also not a moment ago."""
        return self.is_open and self._transport is not None and not self._transport.is_closing()

    def exchange(self, request: bytes) -> Response:
        """Write a request; from here on it may have left."""
        response = self._response = Response(self)
        self._quiet_bytes = 0
        assert self._transport is not None  # noqa: S101 - connected before it is handed out
        self._transport.write(request)
        return response

    async def send(self, body: AsyncIterator[bytes], response: Response) -> None:
        """Write a body piece by piece, as fast as the other side takes it; none is wanted once it has answered.

        What `body` raises is raised. The caller ends the exchange then: half a request is of no use to anybody.
        """
        self._is_sending = True
        async for piece in body:
            if self._writable is not None:
                await asyncio.wait({self._writable, response.answered}, return_when=asyncio.FIRST_COMPLETED)
            if response.answered.done() or not self.is_usable or self._transport is None:
                return
            self._transport.write(piece)
        self._is_sending = False

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, as we asked for
        if not self.is_open:  # through a tunnel, data and even the end may come before this
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self.abort()  # nobody asked
            return
        self._quiet_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(f"not HTTP: {type(error).__name__}")
        else:
            if self._quiet_bytes > MAX_HEAD_BYTES and self._response is not None:
                self._break("not HTTP: endless head, trailer or chunk size")

    def eof_received(self) -> None:
        """The origin is done: the end of an answer without framing, and the end of the connection."""
        self.is_open = False
        if self._response is not None and self._response.status and not _is_framed(self._response.headers):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._pool.lost(self)
        self._fail(Broken(f"connection lost: {exc or 'closed'}"))

    def on_message_begin(self) -> None:
        if self._response is None:  # behind the answer in the same read: it must not meet the next request
            raise ValueError("nobody asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None and not self._response.status:  # trailers are dropped
            self._response.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        response, status = self._response, self._parser.get_status_code()
        if response is None:
            return
        if self._quiet_bytes > MAX_HEAD_BYTES and _size(response.headers) > MAX_HEAD_BYTES:
            raise ValueError("head too large")
        if not 200 <= status < 600:
            if not 100 <= status < 200 or status == 101:  # no such status, or an upgrade that nobody asked for
                raise ValueError("no answer")
            response.headers.clear()  # informational: the answer is still to come
            return
        response.status = status
        response.begin()

    def on_body(self, body: bytes) -> None:
        self._quiet_bytes = 0
        if self._response is not None and self._response.add(body) > BUFFER_BYTES and not self._is_paused:
            self._is_paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._response is not None and self._response.status:
            self._finish()

    def resume(self) -> None:
        """The reader has taken what waited."""
        if self._is_paused and self.is_usable and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _finish(self) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        response.end()
        self.resume()
        if self._may_carry_more():
            self._pool.release(self)
        else:
            self.abort()

    def _may_carry_more(self) -> bool:
        """Not when the answer came before the request had left: its rest would stand before the next one."""
        if not self.is_usable or self._transport is None or not self._parser.should_keep_alive() or self._is_sending:
            return False
        return self._transport.get_write_buffer_size() == 0

    def _break(self, reason: str) -> None:
        self._fail(Broken(reason))
        self.abort()

    def _fail(self, error: Broken) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.end(error)


def _is_framed(headers: Headers) -> bool:
    """Whether the end of the message is told by its bytes; if not, it is the end of the connection (RFC 9112, 6.3)."""
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        return codings[-1].strip().lower().endswith(b"chunked")
    return any(name == b"content-length" for name, _ in headers)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)
