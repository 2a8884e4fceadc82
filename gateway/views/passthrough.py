"""Everything else under /v1: closed, unless PASSTHROUGH_ALLOW names it.

The path goes up as it came, below the provider's address. Objects that it names must be the caller's.
"""

import re
from dataclasses import replace
from functools import lru_cache

from django.http import HttpResponseBase

from gateway import objects
from gateway.accept import Route, authenticate, carry
from gateway.estimate import read_anything
from gateway.media import untold
from sentinel import config, passthrough
from sentinel.exceptions import BadRequest, EndpointNotAllowed
from sentinel.lib.asgi import LeanRequest
from sentinel.lib.guard import read_whole

_QUERY = re.compile(r"[!$-~]*")  # what a query may hold: no space, quote, control character or fragment


async def pass_through(request: LeanRequest) -> HttpResponseBase:
    """Carry a call to an endpoint that the operator has opened. Raises CallError."""
    path = request.path_info.removeprefix("/v1")
    named = _allowance(config.get().passthrough_allow).objects_in(request.method or "", tuple(path.split("/")[1:]))
    if named is None:
        raise EndpointNotAllowed
    principal = request.auth = await authenticate(request)
    query = request.scope["query_string"].decode("latin-1")
    if not _QUERY.fullmatch(query):
        raise BadRequest("The query holds characters that must be escaped.")
    await objects.must_own(principal, [*named, *objects.asked_for(query)])
    return await carry(request, await _route(request, f"{path}?{query}" if query else path, is_list=not named))


async def _route(request: LeanRequest, target: str, *, is_list: bool) -> Route:
    """What is known of such a call: a JSON body is read, anything else goes up as it comes."""
    method = request.method or ""
    route = Route("passthrough", method, target, is_open=True, keeps=True, lists=is_list and method == "GET")
    if method in {"GET", "DELETE"}:
        return route
    kind = request.header(b"content-type") or ""
    if kind and not kind.lower().startswith("application/json"):
        return replace(route, bound=lambda _length: untold(""), takes_any=True)
    request.give(await read_whole(request.exchange.receive, config.get().max_body_bytes))
    return replace(route, read=read_anything) if request.body else route


@lru_cache(maxsize=1)
def _allowance(text: str) -> passthrough.Allowance:
    return passthrough.parse(text)
