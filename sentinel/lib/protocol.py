"""The part of the guard that must act before ASGI: what a request may look like on the wire, and how long it may take.

uvicorn's own protocol merges trailer fields into the headers, waits for ever for half a header, and bounds neither
their number nor their size. It also keeps what a client does not take for as long as that client stays.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sentinel import config

_PATIENCE = 1.5  # of the time that a client has: streams are ended by those who know what to do about their calls
_LONGEST_TARGET = 8192
_BODY = b'{"error":{"message":"%s","type":"invalid_request_error","param":null,"code":"%s","request_id":null}}'
_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 414: b"URI Too Long", 431: b"Request Header Fields Too Large"}


class Refused(Exception):
    """This request is answered with `status` and the connection closed."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with caps on the head, deadlines on head and body, and no trailers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = config.get()
        self._max_bytes, self._max_fields = settings.max_header_bytes, settings.max_header_fields
        self._head_seconds, self._body_seconds = settings.header_timeout_seconds, settings.body_timeout_seconds
        self._upload_seconds = settings.upload_timeout_seconds
        self._send_seconds = settings.send_timeout_seconds * _PATIENCE
        self._deadline: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None  # at whether the client has taken anything since
        self._has_taken = False
        self._refused: Refused | None = None
        self._head_done = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self._head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        self._has_taken = True
        super().resume_writing()

    def on_response_complete(self) -> None:
        self._look_later()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        if self._refused is None:
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_done, self._head_bytes = False, 0
        if self._deadline is None:
            self._arm(self._head_seconds)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > _LONGEST_TARGET:
            raise self._refuse(414, "target_too_long", "The request target is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            raise self._refuse(400, "trailers_not_allowed", "Trailer fields are not accepted.")
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._max_bytes or len(self.headers) >= self._max_fields:
            raise self._refuse(431, "headers_too_large", "The request headers are too large.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._disarm()
        is_form = any(name == b"content-type" and value[:10].lower() == b"multipart/" for name, value in self.headers)
        self._arm(self._upload_seconds if is_form else self._body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer in the one error shape and close; after the answer has begun, only close."""
        self._disarm()
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        refused = self._refused or Refused(400, "invalid_request", "The request is not valid HTTP/1.1.")
        self._refused = refused
        body = _BODY % (refused.message.encode(), refused.code.encode())
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (refused.status, _REASONS[refused.status], len(body)) + body)
        self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> Refused:
        self._refused = Refused(status, code, message)
        return self._refused

    def _arm(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _look_later(self) -> None:
        """Have a client that takes nothing of what is written cut off: closing alone would wait for it."""
        if self._look is None and (waiting := self.transport.get_write_buffer_size()):
            self._has_taken = False
            self._look = self.loop.call_later(self._send_seconds, self._look_at, waiting)

    def _look_at(self, waiting: int) -> None:
        self._look = None
        if self._has_taken or self.transport.get_write_buffer_size() < waiting:
            self._look_later()
        else:
            self.transport.abort()

    def _late(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        has_begun: Any = self.cycle or self.headers  # None until the first request; uvicorn types say otherwise
        if not has_begun:
            self.transport.close()  # connected and said nothing
            return
        self._refuse(408, "request_timeout", "The request did not arrive in time.")
        self.send_400_response("")
