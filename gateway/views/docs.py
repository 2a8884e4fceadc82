"""GET /v1/openapi.json, GET /v1/docs: the API document, and Swagger UI over it from files of our own.

Closed unless DOCS_API_KEY is set and given, or SENTINEL_DEBUG is on.
"""

import base64
import binascii
import hmac
from functools import cache

import orjson
from django.http import HttpResponse
from django.template.loader import render_to_string

from gateway.api import api
from gateway.openapi.document import PREFIX, render
from sentinel import config
from sentinel.exceptions import MethodNotAllowed, NotFound, Unauthenticated
from sentinel.lib.asgi import LeanRequest

_SETTINGS = {"url": f"{PREFIX}/openapi.json", "layout": "BaseLayout", "deepLinking": True}
_ASK = {"WWW-Authenticate": 'Basic realm="API document", charset="UTF-8"'}
# The page loads from here alone. Swagger UI sets styles on elements, and draws its icons from data URLs.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


async def document(request: LeanRequest) -> HttpResponse:
    """The document as JSON."""
    _admit(request)
    return HttpResponse(_document(), content_type="application/json")


async def page(request: LeanRequest) -> HttpResponse:
    """The document for people."""
    _admit(request)
    return HttpResponse(_page(), headers=_PAGE_HEADERS)


def _admit(request: LeanRequest) -> None:
    """Raises NotFound where the document is closed, Unauthenticated where its key is not given."""
    request.exchange.endpoint = "docs"
    settings = config.get()
    expected = settings.docs_api_key.get_secret_value()
    if not settings.sentinel_debug:
        if not expected:
            raise NotFound
        given = _given(request.header(b"authorization") or "")
        if not hmac.compare_digest(given, expected.encode()):
            raise Unauthenticated("The key of the API document is needed.", code="docs_key_needed", headers=_ASK)
    if request.method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})


def _given(authorization: str) -> bytes:
    """The key of a Bearer header, or the password of a Basic one; empty where there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


@cache
def _document() -> bytes:
    return render(api)


@cache
def _page() -> str:
    settings = orjson.dumps(_SETTINGS).decode()
    return render_to_string("ninja/swagger.html", {"swagger_settings": settings, "api": api, "add_csrf": False})
