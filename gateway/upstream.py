"""The provider's side of a call, behind one module: opens it, reads it, and translates every failure once.

Never sent is told apart from may have been sent: only the former gives its hold back. No redirect is followed, no
cookie kept, no proxy taken from the environment, nothing decompressed, nothing retried.
"""

import re
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog

from gateway import headers as allowed
from gateway.uploads import Upload
from sentinel import config
from sentinel.config import Config
from sentinel.exceptions import SentinelError, UpstreamError, UpstreamTimeout
from sentinel.lib import metrics
from sentinel.lib.http1.connect import Origin
from sentinel.lib.http1.pool import Pool
from sentinel.lib.http1.response import Broken, NotSent, Response

log = structlog.get_logger("upstream")
Headers = list[tuple[bytes, bytes]]
# Inside a JSON string the quotes are escaped, so that text of an answer cannot match.
_ERROR = re.compile(rb'"(?:last_)?errors?"[ \t\r\n]*:[ \t\r\n]*[\[{"]')
_OWNER = re.compile(rb'("(?:organization_id|owned_by)"[ \t\r\n]*:[ \t\r\n]*")org-[^"\\]*')
_MOST_DIGITS = 20  # of a length; Python refuses to convert thousands of zeros


class NeverSent(SentinelError):
    """The provider could not be reached; provably no byte of the call left. `error` is what the caller gets."""

    def __init__(self, error: UpstreamError) -> None:
        self.error = error
        super().__init__(str(error))


def scrub(text: bytes) -> bytes:
    """What the provider says of an error, without our identifiers and keys: what looks like one, and our very own."""
    settings = config.get()
    clean = allowed.scrub(text)
    for own in (settings.openai_api_key.get_secret_value(), settings.openai_organization, settings.openai_project):
        clean = clean.replace(own.encode(), allowed.MASK) if own else clean
    return clean


def scrub_error(body: bytes) -> bytes:
    """A success that tells of an error is scrubbed, as a failed response, batch or run is; so are the members that name
    our organisation. Every other answer stays as it came."""
    if b"error" in body and _ERROR.search(body):
        return scrub(body)
    return _OWNER.sub(rb"\1" + allowed.MASK, body) if b"org-" in body else body


class Reply:
    """An answer whose head has arrived. Closing it before its end closes the connection."""

    __slots__ = ("_limit", "_response", "headers", "status")

    def __init__(self, response: Response, limit: int) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._limit = limit

    async def read(self) -> bytes:
        """The whole body. Raises UpstreamError when it is cut or too large."""
        declared = self._response.header(b"content-length")
        parts: list[bytes] = []
        size = int(declared) if declared.isdigit() and len(declared) < _MOST_DIGITS else 0
        if size <= self._limit:
            size = 0
            while part := await self.read_some():
                parts.append(part)
                size += len(part)
                if size > self._limit:
                    break
        if size > self._limit:
            raise _failure("too_large", "The provider's answer is too large.")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_some(self) -> bytes:
        """The next bytes of the body as they arrive, b"" at its end. Raises UpstreamError when it is cut."""
        try:
            return await self._response.read_some()
        except Broken as error:
            raise _broken(error) from error

    def close(self) -> None:
        """Done with it; the connection is kept only if the answer was complete."""
        self._response.close()


class Upstream:
    """The connections of this process to the provider. Make it inside the running loop, close it there."""

    def __init__(self, config: Config) -> None:
        tls = ssl.create_default_context()
        if config.ca_bundle:
            tls.load_verify_locations(config.ca_bundle)
        origin = Origin(config.openai_api_url, config.upstream_proxy, tls)
        self._limit = config.upstream_max_reply_bytes
        self._prefix = (origin.target_prefix + urlsplit(config.openai_api_url).path).encode("ascii")
        self._own_headers = _own_headers(config, origin.authority)
        self._pool = Pool(
            origin,
            connect_seconds=config.upstream_connect_timeout_seconds,
            idle_seconds=config.upstream_keepalive_seconds,
            most_idle=config.upstream_idle_connections,
            most=config.upstream_max_connections,
        )

    async def open(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes | Upload,
        on_write: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Send a call and wait for its head. `path` comes from our route table; the caller bounds the wait.

        `on_write` is called just before the first byte may leave.
        Raises NeverSent, UpstreamError, and what an upload raises.
        """
        head = b"%b %b%b HTTP/1.1\r\n%b" % (method.encode(), self._prefix, path.encode(), self._own_headers)
        fields = [b"%b: %b\r\n" % header for header in headers]
        pieces = None
        if isinstance(body, Upload):
            length, pieces, body = body.framing, body.framed(), b""
        else:
            length = b"content-length: %d\r\n" % len(body) if body or method == "POST" else b""
        try:
            response = await self._pool.request(b"".join((head, *fields, length, b"\r\n", body)), on_write, pieces)
        except NotSent as error:
            raise _never_sent(error) from error
        except Broken as error:
            raise _broken(error) from error
        if response.header(b"content-encoding").strip().lower() not in {b"", b"identity"}:
            response.close()
            raise _failure("encoded", "The provider's answer is encoded, though that was not asked for.")
        return Reply(response, self._limit)

    async def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _own_headers(config: Config, authority: str) -> bytes:
    lines = [
        f"host: {authority}",
        f"authorization: Bearer {config.openai_api_key.get_secret_value()}",
        "accept-encoding: identity",
    ]
    if config.openai_organization:
        lines.append(f"openai-organization: {config.openai_organization}")
    if config.openai_project:
        lines.append(f"openai-project: {config.openai_project}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _never_sent(error: NotSent) -> NeverSent:
    metrics.of(metrics.UPSTREAM_ERRORS, "connect_timeout" if error.is_late else "connect").inc()
    log.warning("upstream_unreachable", reason=str(error))
    if error.is_late:
        return NeverSent(UpstreamTimeout("The provider could not be reached in time.", should_retry=True))
    return NeverSent(UpstreamError("The provider could not be reached.", should_retry=True))


def _broken(error: Broken) -> UpstreamError:
    log.warning("upstream_broke", reason=str(error))
    return _failure("broken", "The connection to the provider broke.")


def _failure(reason: str, message: str) -> UpstreamError:
    metrics.of(metrics.UPSTREAM_ERRORS, reason).inc()
    return UpstreamError(message)
