"""The lean handler for the API routes, and the guard before it.

Django's ASGIHandler spools the body to a temporary file, sends signals, starts two tasks and a thread per request:
four fifths of the cost of a view. This subclass reads the body into memory under a cap, resolves the URL, awaits the
view and sends. URL routing, ninja and HttpRequest stay Django's. The admin keeps the stock handler.
"""

import re
from collections.abc import Awaitable, Callable, Container, MutableMapping, Sequence
from functools import cached_property
from io import BytesIO
from typing import Any, Protocol

from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import Http404, HttpResponseBase
from django.urls import ResolverMatch, get_resolver

from sentinel.exceptions import MethodNotAllowed, NotFound
from sentinel.lib import clock
from sentinel.lib.guard import Gone, Receive, Scope, guard, read_whole, too_large

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_MATCHES = 1000


class Exchange:
    """One request and what becomes of it: read by the access log and the metrics when it is over."""

    __slots__ = (
        "answer_headers", "client_request_id", "endpoint", "fields", "receive", "request_id", "send", "started",
        "status",
    )  # fmt: skip

    def __init__(self, receive: Receive, send: Send, request_id: str) -> None:
        self.receive, self.send, self.request_id = receive, send, request_id
        self.client_request_id = ""
        self.started = clock.monotonic()
        self.endpoint = "other"
        self.status = 0
        self.fields: dict[str, Any] = {}
        self.answer_headers: Sequence[tuple[bytes, bytes]] = ()


class Hooks(Protocol):
    """What the API does around a request; the handler knows no domain words."""

    def begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange: ...
    def preflight(self, scope: Scope, exchange: Exchange) -> HttpResponseBase | None: ...
    def render(self, error: Exception, exchange: Exchange) -> HttpResponseBase: ...
    def finish(self, exchange: Exchange, response: HttpResponseBase) -> None: ...
    def end(self, exchange: Exchange, scope: Scope) -> None: ...


class LeanRequest(ASGIRequest):
    """Django's request with its body already read; META, which no call needs, is made when somebody asks for it."""

    exchange: Exchange
    auth: Any  # who is calling, once that is known
    length: int | None = None  # of the body, as the client declared it

    def __init__(self, scope: Scope, body: bytes, exchange: Exchange) -> None:
        self.scope = scope
        self.exchange = exchange
        self.method = scope["method"]
        self.path = self.path_info = scope["path"]
        self.script_name = ""
        self.resolver_match = None
        self._body = body
        self._post_parse_error = self._read_started = False

    @cached_property
    def META(self) -> dict[str, Any]:  # type: ignore[override]
        """Headers and server variables as Django has them."""
        full = ASGIRequest(self.scope, BytesIO(self._body))
        self._stream = full._stream
        return full.META

    def give(self, body: bytes) -> None:
        """The body, for a view that had to see the head first."""
        self._body = body

    def header(self, name: bytes) -> str | None:
        """One header by its name in lower case; the guard has seen to it that those that matter come once."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)


class LeanHandler(ASGIHandler):
    """Serves the API routes. Views named in `uploads` take their body as it comes, up to a cap of its own."""

    def __init__(
        self, hooks: Hooks, max_body_bytes: int, *, uploads: Container[str] = (), max_upload_bytes: int = 0
    ) -> None:
        super().__init__()
        self._hooks = hooks
        self._max_body_bytes, self._max_upload_bytes = max_body_bytes, max_upload_bytes
        self._uploads = uploads
        self._matches: dict[str, ResolverMatch] = {}

    def load_middleware(self, is_async: bool = False) -> None:
        """No middleware: what every request needs is in the hooks, and each layer costs all calls."""
        self._view_middleware: list[Any] = []
        self._middleware_chain = None

    async def __call__(  # type: ignore[override]  # messages are mutable mappings here, as uvicorn sends them
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Guard, read, route, answer; every error leaves in the one shape."""
        exchange = self._hooks.begin(scope, receive, send)
        try:
            response = await self._respond(scope, exchange)
            await self._send(response, exchange)
        except Gone:
            exchange.status = 499
        finally:
            self._hooks.end(exchange, scope)

    async def _respond(self, scope: Scope, exchange: Exchange) -> HttpResponseBase:
        try:
            length = guard(scope)
            response = self._hooks.preflight(scope, exchange) if scope["method"] == "OPTIONS" else None
            if response is None:
                response = await self._view(scope, exchange, length)
            if response.status_code == 405:
                raise MethodNotAllowed(headers={"Allow": response.get("Allow", "")})  # noqa: TRY301 - one error shape
        except Gone:
            raise
        except Http404:
            response = self._hooks.render(NotFound(), exchange)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the caller gets the one error shape
            response = self._hooks.render(error, exchange)
        self._hooks.finish(exchange, response)
        return response

    async def _view(self, scope: Scope, exchange: Exchange, length: int | None) -> HttpResponseBase:
        match = self._resolve(scope["path"])
        is_upload = match.url_name in self._uploads
        limit = self._max_upload_bytes if is_upload else self._max_body_bytes
        if length is not None and length > limit:
            raise too_large(limit)
        request = LeanRequest(scope, b"" if is_upload else await read_whole(exchange.receive, limit), exchange)
        request.resolver_match, request.length = match, length
        response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
        return response

    def _resolve(self, path: str) -> ResolverMatch:
        """Django's resolver, asked once for each path without parameters."""
        match = self._matches.get(path)
        if match is None:
            match = get_resolver().resolve(path)
            if not match.args and not match.kwargs and len(self._matches) < _MATCHES:
                self._matches[path] = match
        return match

    async def _send(self, response: HttpResponseBase, exchange: Exchange) -> None:
        exchange.status = response.status_code
        send = exchange.send
        headers = getattr(response, "asgi_headers", None)
        if headers is None:
            headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
        own_way = getattr(response, "send_to", None)
        if own_way is not None:
            try:
                await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
                await own_way(send)
            finally:
                response.close()
            return
        body = getattr(response, "content", b"")
        if response.status_code != 204:  # RFC 9110, section 8.6
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def watch(receive: Receive, on_leave: Callable[[], None]) -> None:
    """Call `on_leave` once the client has left; also returns when the response is complete."""
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
    on_leave()


def dispatch(api: Any, site: Any, lifespan: Callable[[Scope, Receive, Send], Awaitable[None]]) -> Any:
    """One ASGI application: the site (the admin and its files) on Django's stock handler, all else on the lean one."""
    site_paths = re.compile(r"/(?:admin|static)(?:/|$)")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (site if site_paths.match(scope["path"]) else api)(scope, receive, send)
        elif scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    return application


__all__ = ["Exchange", "Gone", "LeanHandler", "LeanRequest", "Receive", "Scope", "Send", "dispatch", "guard", "watch"]
