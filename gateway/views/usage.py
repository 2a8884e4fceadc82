"""GET /v1/usage: what the caller may use, has used, and for what. Costs no quota and asks no database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from django.http import HttpResponse
from ninja import Router

from gateway import runtime
from gateway.headers import rate_headers
from gateway.runtime import Runtime
from limits.overview import Overview, Quota, overview
from limits.values import Principal
from sentinel.exceptions import Forbidden, QuotaStoreUnavailable, Unauthenticated
from sentinel.lib import redis
from sentinel.lib.asgi import LeanRequest
from usage import recent

router = Router(tags=["usage"])


@router.get("/usage", summary="Your usage", url_name="usage")
async def read_usage(request: LeanRequest) -> HttpResponse:
    """Limits, use and resets of each quota, the state of the rate window, and the last delivered calls."""
    request.exchange.endpoint = "usage"
    here, principal = runtime.current(), request.auth
    try:
        found = await _admitted(here, principal, request.META.get("HTTP_AUTHORIZATION"))
        if found.fetched_ms is None:
            await here.snapshots.refresh(principal.external_id)
            found = await overview(principal.external_id)
        calls = await recent.last(principal.external_id)
    except redis.RedisUnavailable as error:
        raise QuotaStoreUnavailable(retry_after_seconds=1) from error
    rate = await here.admission.rate(principal)
    answer = HttpResponse(orjson.dumps(_page(found, calls, rate)), content_type="application/json")
    if found.quotas:
        answer["x-sentinel-quota-remaining"] = _remaining(found.quotas)
    if rate is not None:
        limit, remaining, reset_ms = rate
        for header, value in rate_headers(limit, remaining, -(-reset_ms // 1000)):
            answer[header.decode("ascii")] = value.decode("ascii")
    return answer


async def _admitted(here: Runtime, principal: Principal, authorization: str | None) -> Overview:
    """What the ledger knows of a caller who may still come in: a revocation or block holds here as for calls."""
    found = await overview(principal.external_id)
    if found.is_blocked:
        raise Forbidden("This user is blocked.")
    if found.revoked_ms is not None and found.revoked_ms >= principal.validated_ms:
        principal = await here.authenticator.renew(authorization, principal)
        if found.revoked_ms >= principal.validated_ms:
            raise Unauthenticated
    return found


def _page(found: Overview, calls: list[dict[str, Any]], rate: tuple[int, int, int] | None) -> dict[str, Any]:
    return {
        "object": "usage",
        "limits_fetched_at": _time(found.fetched_ms),
        "quotas": [_quota(quota) for quota in found.quotas],
        "rate": rate and {"limit": rate[0], "remaining": rate[1], "resets_at": _time(rate[2])},
        "open_calls": found.open_calls,
        "calls": [_call(call) for call in calls],
    }


def _remaining(quotas: Sequence[Quota]) -> str:
    """What is left of each limited metric, as answers to calls tell it: the tightest quota counts."""
    left: dict[str, int] = {}
    for quota in quotas:
        left[quota.metric] = min(left.get(quota.metric, quota.free), quota.free)
    return ", ".join(f"{metric}={free}" for metric, free in left.items())


def _quota(quota: Quota) -> dict[str, Any]:
    return {
        "name": quota.name,
        "metric": quota.metric,
        "limit": quota.limit,
        "used": quota.used,
        "unconfirmed": quota.unconfirmed,
        "held": quota.held,
        "free": quota.free,
        "period": quota.reset_period.lower() or None,
        "resets_at": _time(quota.resets_at_ms),
    }


def _call(call: dict[str, Any]) -> dict[str, Any]:
    return {"admitted_at": _time(call["admitted_ms"]), **{k: v for k, v in call.items() if k != "admitted_ms"}}


def _time(ms: int | None) -> str | None:
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
