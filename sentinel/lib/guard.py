"""The guard before Django: what a request may look like, and its body, under a cap."""

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from sentinel.exceptions import BadRequest, CallError, NotFound, PayloadTooLarge, UnsupportedMediaType

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_PATH = re.compile(rb"(?:/[A-Za-z0-9_.:-]+)+")
_DOTS = re.compile(rb"/\.{1,2}(?:/|$)")
_MOST_DIGITS = 15  # of a length that anybody means


class Gone(Exception):
    """The client left before its request was complete."""


def guard(scope: Scope) -> int | None:
    """Refuse what no client needs and attackers use; returns the body's length as declared. Raises CallError; the
    protocol has bounded the head's size."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    _refuse_doubles([name for name, _ in headers])
    length = None
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if len(value) <= _MOST_DIGITS else sys.maxsize
        if name == b"content-encoding" and value.lower() != b"identity":
            raise UnsupportedMediaType
    path: bytes = scope["raw_path"]
    if not _PATH.fullmatch(path) or _DOTS.search(path):
        raise NotFound
    return length


def _refuse_doubles(names: list[bytes]) -> None:
    """Of some headers the provider may believe another one than we do."""
    if names.count(b"host") != 1:
        raise BadRequest("Exactly one Host header is needed.", code="invalid_host")
    if names.count(b"authorization") > 1:
        raise BadRequest("At most one Authorization header is accepted.", code="ambiguous_authorization")
    if names.count(b"content-type") > 1:
        raise BadRequest("At most one Content-Type header is accepted.")
    if b"trailer" in names:
        raise BadRequest("Trailer fields are not accepted.", code="trailers_not_allowed")


async def incoming(receive: Receive) -> AsyncIterator[bytes]:
    """A request's body in pieces, the last one perhaps empty. Its deadline is the protocol's. Raises Gone."""
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        has_more = message.get("more_body", False)
        yield message.get("body", b"")


async def read_whole(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises Gone, PayloadTooLarge."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        parts, size = [body], len(body)
        async for part in incoming(receive):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large(limit)
        body = b"".join(parts)
    if len(body) > limit:
        raise too_large(limit)
    return body


def too_large(max_bytes: int) -> CallError:
    """The error for a body that exceeds its cap."""
    message = f"The request body exceeds {max_bytes} bytes."
    return PayloadTooLarge(message, headers={"Connection": "close"})
