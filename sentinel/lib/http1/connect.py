"""Opens connections to an origin, plain or TLS: straight, or through an HTTP proxy, itself plain or TLS.

No deadline of its own.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import urlsplit

from sentinel.exceptions import SentinelError

P = TypeVar("P", bound=asyncio.Protocol)
_MAX_REPLY_BYTES = 16 * 1024
_OPENED = re.compile(rb"HTTP/1\.[01] 2[0-9]{2}(?: |\r\n|\Z)")


class Refused(SentinelError):
    """The proxy did not open a tunnel."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where calls go: an http or https URL. `proxy` is the URL of an HTTP proxy, or empty."""

    url: str
    proxy: str
    tls: ssl.SSLContext

    @property
    def is_tls(self) -> bool:
        """Whether the origin speaks TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        return urlsplit(self.url).netloc

    @property
    def target_prefix(self) -> str:
        """What stands before a path in the request line: a proxy wants the whole URL of a plain origin."""
        return f"http://{self.authority}" if self.proxy and not self.is_tls else ""


async def connect(origin: Origin, make: Callable[[], P]) -> P:
    """A connected protocol. Raises OSError, ValueError for a name or port that cannot be one, Refused."""
    loop = asyncio.get_running_loop()
    host, port = _address(origin.url)
    first_host, first_port = _address(origin.proxy or origin.url)
    first_tls = origin.tls if urlsplit(origin.proxy or origin.url).scheme == "https" else None
    if not origin.proxy or not origin.is_tls:
        _, protocol = await loop.create_connection(make, first_host, first_port, ssl=first_tls)
        return protocol
    transport, tunnel = await loop.create_connection(_Tunnel, first_host, first_port, ssl=first_tls)
    try:
        await tunnel.open(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        protocol = make()
        secured = await loop.start_tls(transport, protocol, origin.tls, server_hostname=host)
    except BaseException:
        transport.abort()
        raise
    if secured is None:
        raise Refused("the connection closed during TLS")
    protocol.connection_made(secured)
    return protocol


class _Tunnel(asyncio.Protocol):
    """Asks a proxy to connect further, and reads its answer up to the empty line."""

    def __init__(self) -> None:
        self._reply = b""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses

    async def open(self, authority: str) -> None:
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        self._transport.write(request.encode("ascii"))
        await self._opened
        if self._transport.is_closing():
            raise Refused("the proxy closed the connection")

    def data_received(self, data: bytes) -> None:
        self._reply += data
        head, end, _ = self._reply.partition(b"\r\n\r\n")
        if len(head) > _MAX_REPLY_BYTES:
            self._end(Refused("the proxy's answer has no end"))
        elif end:
            self._end(None if _OPENED.match(head) else Refused("the proxy refused"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Refused("the proxy closed the connection"))

    def _end(self, error: Refused | None) -> None:
        if self._opened.done():
            return
        if error is None:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)
            self._opened.exception()  # the caller may be gone


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
