"""From a request to a Call: checks the fields that we read, estimates what the call may use, and has it served."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpResponseBase

from gateway import headers as allowed
from gateway import runtime, tokens
from gateway.bodies import Body
from gateway.call import Call
from gateway.estimate import Estimate
from gateway.proxy import serve
from gateway.throttle import client_address
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


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint of ours and where it leads at the provider. `read` is None where the body is not metered."""

    endpoint: str
    method: str
    path: str
    read: Callable[[Body, Count], Estimate] | None
    cap_field: str = ""


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
    principal: Principal = request.auth  # type: ignore[attr-defined]
    here = runtime.current()
    try:
        if here.is_draining:
            raise ShuttingDown
        if here.recorder.is_exhausted:
            raise JournalUnavailable(retry_after_seconds=5)
        if here.recorder.open_calls >= config.get().max_concurrent_calls:
            raise Unavailable("This server is busy.", code="overloaded", retry_after_seconds=1)
        call = _call(request, route, principal)
        authorization = request.header(b"authorization")
        return await serve(call, request.exchange, here, lambda: here.authenticator.renew(authorization, principal))
    except CallError as error:
        if error.rate is None and not isinstance(error, QuotaStoreUnavailable):  # it would wait for Redis once more
            error.rate = await here.admission.rate(principal)
        raise


def _call(request: LeanRequest, route: Route, principal: Principal) -> Call:
    exchange = request.exchange
    exchange.endpoint = route.endpoint
    body = estimate = None
    if route.read is not None:
        if not (request.header(b"content-type") or "application/json").lower().startswith("application/json"):
            raise UnsupportedMediaType
        body = Body.parse(request.body)
        estimate = route.read(body, tokens.count)
        _check_model(estimate.model)
        exchange.fields["model"] = estimate.model
        exchange.fields["stream"] = estimate.stream
    passing = allowed.upward(request.scope["headers"], principal.external_id, _idempotency_key())
    return Call(
        call_id=exchange.request_id,
        principal=principal,
        endpoint=route.endpoint,
        method=route.method,
        path=route.path,
        headers=passing,
        body=body,
        estimate=estimate,
        cap_field=route.cap_field,
        request_id=exchange.client_request_id,
    )


def _check_model(model: str) -> None:
    allowed_models = config.get().models_allow
    if allowed_models and model not in {name.strip() for name in allowed_models.split(",")}:
        message = "This model may not be used here."
        raise BadRequest(message, code="model_not_allowed", param="model")


def _idempotency_key() -> bytes:
    return hashlib.sha256(b"idempotency:" + config.get().openai_api_key.get_secret_value().encode()).digest()
