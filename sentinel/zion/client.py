"""Two clients of Zion over one wire: AsyncZion on httpx for the request path, Zion on requests for workers.

Neither retries, follows redirects, keeps cookies or reads proxies from the environment. Each call has one deadline.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar

import httpx

from sentinel.config import Config
from sentinel.lib.background import spawn
from sentinel.zion import blocking, wire
from sentinel.zion.delivery import delivery_of_failure, read_report
from sentinel.zion.reading import REPLY_CAP_BYTES
from sentinel.zion.schemas import Delivery, Endpoint, Limit, Profile, ZionUnavailable
from sentinel.zion.transport import NoReply, Reply, is_plain, logged, salvage, tls

MAX_CONNECTIONS = 50
# Shorter than the shortest common idle limit of servers (5 s), or a report could meet a connection just closed.
KEEPALIVE_SECONDS = 2.0
T = TypeVar("T")
Read = Callable[[int, Mapping[str, str], bytes], T]


class AsyncZion:
    """Zion for the request path. Belongs to one event loop; close it with `aclose`."""

    def __init__(self, config: Config) -> None:
        self._api_key = config.zion_api_key.get_secret_value()
        self._total_seconds = config.zion_timeout_seconds
        self._calls: set[asyncio.Task[Reply]] = set()
        self._http = httpx.AsyncClient(
            base_url=config.zion_api_url,
            timeout=httpx.Timeout(None, connect=config.zion_connect_timeout_seconds),
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
            follow_redirects=False,
            trust_env=False,
            proxy=config.zion_proxy or None,
            verify=tls(config),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def fetch_profile(self, token: str) -> Profile:
        """Whom a client's token belongs to. Raises ZionRejectedToken, ZionForbidden or ZionUnavailable."""
        return await self._read(wire.profile_request(token), wire.read_profile)

    async def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        """A user's limits as Zion has them now. Raises ZionUnknownUser or ZionUnavailable."""
        return await self._read(wire.limits_request(external_id, self._api_key), _limits_of(external_id))

    async def report(
        self, endpoint: Endpoint, body: bytes, key: str, identities: Sequence[str], timeout_seconds: float | None = None
    ) -> Delivery:
        """Send rendered usage and say what became of it; never raises for what Zion or the network does."""
        request = wire.report_request(endpoint, body, key, self._api_key)
        with logged(request) as line:
            try:
                reply = await self._send(request, timeout_seconds or self._total_seconds)
            except NoReply as failure:
                delivery = delivery_of_failure(failure.sent, failure.reason)
            else:
                delivery = read_report(reply.status, reply.headers, reply.body, identities, endpoint)
            line.update(status=delivery.status, outcome=delivery.verdict, reason=_loggable(delivery))
            return delivery

    async def aclose(self) -> None:
        """Let running calls end, each within its own deadline, and close all connections."""
        if self._calls:
            await asyncio.wait(self._calls)
        await self._http.aclose()

    async def _read(self, request: wire.Request, read: Read[T]) -> T:
        with logged(request) as line:
            try:
                reply = await self._send(request, self._total_seconds)
            except NoReply as failure:
                raise ZionUnavailable(failure.reason) from failure
            line["status"] = reply.status
            return read(reply.status, reply.headers, reply.body)

    async def _send(self, request: wire.Request, seconds: float) -> Reply:
        """Run the exchange where its caller cannot cancel it: httpx loses a connection for ever to a second cancel."""
        call = spawn(self._exchange(request, seconds))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return await asyncio.shield(call)

    def _ended(self, call: asyncio.Task[Reply]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # where the caller has gone nobody else asks for it, and asyncio would log an error

    async def _exchange(self, request: wire.Request, seconds: float) -> Reply:
        trail = _Trail()
        head: Reply | None = None
        try:
            async with (
                asyncio.timeout(seconds),
                self._http.stream(
                    request.method,
                    request.path,
                    headers=request.headers,
                    content=request.body or None,
                    extensions={"trace": trail.note},
                ) as response,
            ):
                head = Reply(response.status_code, response.headers)
                return Reply(head.status, head.headers, await _body(response))
        except (TimeoutError, httpx.TimeoutException):
            return salvage(head, "timeout", sent=trail.has_left)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            return salvage(head, type(error).__name__, sent=trail.has_left)
        except NoReply as failure:
            return salvage(head, failure.reason, sent=True)


class _Trail:
    """What httpx did for one call, by its trace extension."""

    def __init__(self) -> None:
        self.has_left = False
        self._opened: list[Any] = []  # httpcore streams

    async def note(self, event: str, details: Mapping[str, Any]) -> None:
        """Called by httpx at each step."""
        if event.endswith("connect_tcp.complete"):
            self._opened.append(details["return_value"])
        elif event.endswith("start_tls.failed"):
            # httpcore 1.0.9 forgets a socket whose handshake timed out, which then stays open as long as Zion likes.
            for stream in self._opened:
                await stream.aclose()
        elif event.endswith("send_request_headers.started"):
            # Asking a proxy for a tunnel sends nothing to Zion.
            self.has_left = self.has_left or details["request"].method != b"CONNECT"


class Zion:
    """Zion for workers and commands. Holds no connection; threads may share it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._api_key = config.zion_api_key.get_secret_value()
        self._tls = tls(config)

    def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        """A user's limits as Zion has them now. Raises ZionUnknownUser or ZionUnavailable."""
        request, read = wire.limits_request(external_id, self._api_key), _limits_of(external_id)
        with logged(request) as line:
            try:
                reply = self._send(request, self._config.zion_batch_timeout_seconds)
            except NoReply as failure:
                raise ZionUnavailable(failure.reason) from failure
            line["status"] = reply.status
            return read(reply.status, reply.headers, reply.body)

    def report(
        self, endpoint: Endpoint, body: bytes, key: str, identities: Sequence[str], timeout_seconds: float | None = None
    ) -> Delivery:
        """Send rendered usage and say what became of it; never raises for what Zion or the network does."""
        request = wire.report_request(endpoint, body, key, self._api_key)
        with logged(request) as line:
            try:
                reply = self._send(request, timeout_seconds or self._config.zion_batch_timeout_seconds)
            except NoReply as failure:
                delivery = delivery_of_failure(failure.sent, failure.reason)
            else:
                delivery = read_report(reply.status, reply.headers, reply.body, identities, endpoint)
            line.update(status=delivery.status, outcome=delivery.verdict, reason=_loggable(delivery))
            return delivery

    def _send(self, request: wire.Request, seconds: float) -> Reply:
        return blocking.exchange(
            request,
            self._config.zion_api_url,
            seconds=seconds,
            connect_seconds=self._config.zion_connect_timeout_seconds,
            proxy=self._config.zion_proxy,
            context=self._tls,
        )


def _limits_of(external_id: str) -> Read[tuple[Limit, ...]]:
    def read(status: int, headers: Mapping[str, str], body: bytes) -> tuple[Limit, ...]:
        return wire.read_limits(status, headers, body, external_id=external_id)

    return read


def _loggable(delivery: Delivery) -> str:
    """Our own words only: what Zion writes may name a user."""
    return delivery.reason if delivery.status is None else ""


async def _body(response: httpx.Response) -> bytes:
    if not is_plain(response.headers):
        raise NoReply("reply is packed", sent=True)
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > REPLY_CAP_BYTES:
            raise NoReply("reply is too large", sent=True)
    return body
