"""From a request to a Call: checks the fields that we read, estimates what the call may use, and has it served."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from django.http import HttpResponseBase

from gateway import headers as allowed
from gateway import objects, runtime, tokens
from gateway.bodies import Body
from gateway.call import Call
from gateway.estimate import Estimate, checked_model
from gateway.forms import FormWatch, boundary_of
from gateway.proxy import serve
from gateway.throttle import client_address
from gateway.uploads import Opaque, Upload
from limits.values import Principal
from sentinel import config
from sentinel.exceptions import (
    BadRequest,
    CallError,
    JournalUnavailable,
    QuotaStoreUnavailable,
    ShuttingDown,
    Unavailable,
    UnsupportedMediaType,
)
from sentinel.lib.asgi import LeanRequest

Count = Callable[[str, str], int]
# Types of what goes unread that a provider may read all the same: as JSON, or as forms of another kind.
_READABLE = re.compile(r"json|urlencoded|multipart|xml|yaml", re.I)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?(?!utf-?8\b|us-ascii\b)", re.I)


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint of ours and where it leads at the provider.

    A JSON body is read by `read`; a multipart form goes up as it comes, and `bound` says what a call of so many bytes
    may use. Neither: nothing is metered. `terminal` names the events that end its streams besides `[DONE]`. `is_open`:
    its answers may be of any form and size. `keeps`: what it creates is stored, and belongs to the caller; `lists`: it
    asks for a list of such objects. `takes_any`: what goes up need not be a form.
    """

    endpoint: str
    method: str
    path: str
    read: Callable[[Body, Count], Estimate] | None = None
    cap_field: str = ""
    bound: Callable[[int | None], Estimate] | None = None
    terminal: tuple[bytes, ...] = ()
    is_open: bool = False
    keeps: bool = False
    lists: bool = False
    takes_any: bool = False


async def authenticate(request: LeanRequest) -> Principal:
    """Who is calling; ninja keeps it as `request.auth`."""
    settings = config.get()
    trusted = frozenset(part.strip() for part in settings.trusted_proxies.split(",") if part.strip())
    address = client_address(request.scope["client"], request.header(b"x-forwarded-for"), trusted)
    principal = await runtime.current().authenticator.identify(request.header(b"authorization"), address)
    request.exchange.fields["external_id"] = principal.external_id
    return principal


async def carry(request: LeanRequest, route: Route) -> HttpResponseBase:
    """Serve one call of an authenticated caller. Every answer tells the state of the rate window. Raises CallError."""
    principal: Principal = request.auth
    here = runtime.current()
    try:
        if here.is_draining:
            raise ShuttingDown
        if here.recorder.is_exhausted:
            raise JournalUnavailable(retry_after_seconds=5)
        if here.recorder.open_calls >= config.get().max_concurrent_calls:
            raise Unavailable("This server is busy.", code="overloaded", retry_after_seconds=1)
        call = _call(request, route, principal)
        if call.body is not None and (named := objects.referenced(call.body.raw)):
            await objects.must_own(principal, named)
        authorization = request.header(b"authorization")
        return await serve(call, request.exchange, here, lambda: here.authenticator.renew(authorization, principal))
    except CallError as error:
        if error.rate is None and not isinstance(error, QuotaStoreUnavailable):  # it would wait for Redis once more
            error.rate = await here.admission.rate(principal)
        raise


def _call(request: LeanRequest, route: Route, principal: Principal) -> Call:
    exchange = request.exchange
    exchange.endpoint = route.endpoint
    body, estimate, upload = None, None, None
    if route.read is not None:
        body = json_body(request)
        estimate = route.read(body, tokens.count)
        if estimate.model:
            check_model(estimate.model)
        exchange.fields["model"] = estimate.model
        exchange.fields["stream"] = estimate.stream
    elif route.bound is not None:
        upload = _upload(request, route)
        estimate = route.bound(request.length)
    return Call(
        call_id=exchange.request_id,
        principal=principal,
        endpoint=route.endpoint,
        method=route.method,
        path=route.path,
        headers=allowed.upward(
            request.scope["headers"],
            principal.external_id,
            _hashing_key(config.get().openai_api_key.get_secret_value()),
        ),
        body=body,
        estimate=estimate,
        cap_field=route.cap_field,
        request_id=exchange.client_request_id,
        terminal=route.terminal,
        is_open=route.is_open,
        keeps=route.keeps,
        lists=route.lists,
        upload=upload,
    )


def json_body(request: LeanRequest) -> Body:
    """The body of a request that must be JSON. Raises BadRequest, UnsupportedMediaType."""
    content_type = request.header(b"content-type") or "application/json"
    if not content_type.lower().startswith("application/json") or _CHARSET.search(content_type):
        raise UnsupportedMediaType
    return Body.parse(request.body)


def _upload(request: LeanRequest, route: Route) -> Upload:
    content_type = request.header(b"content-type") or ""
    watch: FormWatch | Opaque
    if content_type.lower().startswith("multipart/form-data"):
        closed = objects.NAMES if route.takes_any else ()  # a form is not read, so that it cannot name objects
        watch = FormWatch(boundary_of(content_type.encode("latin-1")), "model", closed)
    elif not route.takes_any:
        raise UnsupportedMediaType("The request body must be a multipart form, uncompressed.")
    elif _READABLE.search(content_type):
        raise UnsupportedMediaType("The request body must be application/json, multipart/form-data, or opaque bytes.")
    else:
        watch = Opaque()
    check = _check_known_model if route.takes_any else _check_uploaded_model
    return Upload(request.exchange.receive, request.length, config.get().max_upload_bytes, watch, check)


def _check_known_model(model: str | None) -> None:
    """What is uploaded to an opened endpoint need not be for a model."""
    if model is not None:
        check_model(checked_model(model))


def _check_uploaded_model(model: str | None) -> None:
    """A form that names no model gets the provider's own choice, unless only some are allowed."""
    if model is None:
        check_model("")
    _check_known_model(model)


def check_model(model: str) -> None:
    """Raises BadRequest unless this model may be used."""
    allowed_models = config.get().models_allow
    if allowed_models and model not in _names_in(allowed_models):
        raise BadRequest("This model may not be used here.", code="model_not_allowed", param="model")


@lru_cache(maxsize=1)
def _names_in(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(","))


@lru_cache(maxsize=1)
def _hashing_key(secret: str) -> bytes:
    return hashlib.sha256(b"idempotency:" + secret.encode()).digest()
