"""What both simulators stand on: one request, one way to answer it, and the ways to answer badly.

A simulator is a class with `routes`; `application(build)` makes the ASGI app of it. State lives from the server's
start-up to its end, in the lifespan state, never in a module.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import zip_longest
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import orjson

from sentinel.sandbox.channel import Channel, Headers, Receive, Reply, Send, json_reply

Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end.

    `path` is percent-encoded and `raw_query` as it came, `rest` what the route's stars stand for, decoded.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Headers
    body: bytes
    client: str
    channel: Channel
    rest: str = ""
    raw_query: str = ""

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    def is_local(self) -> bool:
        """Whether it came over loopback."""
        try:
            return ip_address(self.client).is_loopback
        except ValueError:
            return False

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return orjson.loads(self.body)


Handler = Callable[[Request], Awaitable[Reply | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path; a segment `*` matches any one segment, so an unencoded slash is not found."""

    method: str
    path: str
    handler: Handler

    def rest_of(self, path: str) -> str | None:
        """None unless the path fits, else what its stars stand for, decoded and joined by slashes."""
        if path == self.path:
            return ""
        pairs = list(zip_longest(self.path.split("/"), path.split("/")))
        variable = [given or "" for known, given in pairs if known == "*"]
        if not all(variable) or any(known not in {"*", given} for known, given in pairs):
            return None
        return unquote("/".join(variable)) or None


class Simulator(Protocol):
    """What `application` serves."""

    @property
    def routes(self) -> Sequence[Route]:
        """The first that fits is taken."""

    def refuse(self, status: int, message: str) -> Reply:
        """The simulator's own shape of an error."""


def application(build: Callable[[], Simulator]) -> Application:
    """The ASGI app of a simulator that is built when the server starts."""

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(scope, receive, send, build)
        elif scope["type"] == "http":
            async with _request(scope, receive, send) as request:
                answer = await _dispatch(scope["state"]["simulator"], request)
                if answer is not None:
                    await request.channel.reply(answer)

    return app


async def _live(scope: MutableMapping[str, Any], receive: Receive, send: Send, build: Callable[[], Simulator]) -> None:
    await receive()
    scope["state"]["simulator"] = build()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def _request(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> AsyncIterator[Request]:
    channel = Channel(receive, send)
    raw = scope.get("raw_path") or scope["path"].encode()
    request = Request(
        method=scope["method"],
        path=raw.decode("latin-1"),
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"))),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        body=await _read(receive),
        client=(scope.get("client") or ("",))[0],
        channel=channel,
        raw_query=scope["query_string"].decode("latin-1"),
    )
    try:
        yield request
    finally:
        channel.close()


async def _read(receive: Receive) -> bytes:
    """The whole body; a body over the cap is cut there, and so is no JSON any more."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        if len(body) < MAX_BODY_BYTES:
            body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _dispatch(simulator: Simulator, request: Request) -> Reply | None:
    if request.path == "/healthz":
        return json_reply(200, {"status": "ok"})
    if request.path.startswith("/_control/") and not request.is_local():
        return simulator.refuse(403, "the control interface answers loopback only")
    is_known = False
    for route in simulator.routes:
        rest = route.rest_of(request.path)
        if rest is None:
            continue
        is_known = True
        if route.method == request.method:
            return await route.handler(replace(request, rest=rest) if rest else request)
    return simulator.refuse(405, "method not allowed") if is_known else simulator.refuse(404, "no such path")
