"""/health, /health/live, /health/ready, /metrics: for whoever runs this. Every check has a deadline."""

import asyncio
import hmac
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from prometheus_client import REGISTRY, CollectorRegistry, exposition, multiprocess

from gateway import runtime
from sentinel import __version__, config
from sentinel.exceptions import Forbidden, MethodNotAllowed
from sentinel.lib import clock, redis
from sentinel.lib import metrics as counted
from usage import backlog
from usage.send import terms_of

_CHECK_SECONDS = 0.5


async def live(request: HttpRequest) -> HttpResponse:
    """This process answers. Needs nothing else."""
    _operations(request)
    return _json({"status": "healthy"}, 200)


async def ready(request: HttpRequest) -> HttpResponse:
    """Whether calls should be sent here: Redis answers, and the process is not ending."""
    _operations(request)
    check = await _check_redis()
    is_ready = check["status"] == "healthy" and not runtime.current().is_draining
    return _json({"status": "healthy" if is_ready else "unhealthy"}, 200 if is_ready else 503)


async def health(request: HttpRequest) -> HttpResponse:
    """The whole picture: 503 when calls cannot be admitted, `degraded` when usage waits in the journal."""
    _operations(request)
    check = await _check_redis()
    unconfirmed = runtime.current().recorder.unconfirmed
    status = "unhealthy" if check["status"] != "healthy" else "degraded" if unconfirmed else "healthy"
    body = {
        "status": status,
        "version": __version__,
        "uptime_seconds": int(clock.monotonic() - runtime.current().started),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "checks": {"redis": check, "journal": {"status": "healthy", "unconfirmed": unconfirmed}},
    }
    return _json(body, 503 if status == "unhealthy" else 200)


async def metrics(request: HttpRequest) -> HttpResponse:
    """All series of all processes of this node."""
    _operations(request)
    expected = config.get().metrics_token.get_secret_value()
    given = request.META.get("HTTP_AUTHORIZATION", "")
    if expected and not hmac.compare_digest(given.encode(), f"Bearer {expected}".encode()):
        raise Forbidden("A token is needed to read metrics.", code="metrics_token_needed")
    counted.flush()
    await _measure_backlog()
    page = await asyncio.to_thread(_collect)
    return HttpResponse(page, content_type=exposition.CONTENT_TYPE_LATEST)


async def _measure_backlog() -> None:
    """What waits for Zion, from Redis: workers may have a metrics folder of their own."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await asyncio.to_thread(_measure)
    except (redis.RedisUnavailable, TimeoutError) as error:
        counted.of(counted.REDIS_ERRORS, getattr(error, "reason", "slow")).inc()


def _measure() -> None:
    backlog.measure()
    terms_of(config.get()).breaker.look()  # sets its gauge


def _collect() -> bytes:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return exposition.generate_latest(REGISTRY)
    for file in Path(folder).glob("gauge_live*_*.db"):
        owner = re.search(r"_(\d+)\.db$", file.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            multiprocess.mark_process_dead(int(owner[1]), folder)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return exposition.generate_latest(registry)


async def _check_redis() -> dict[str, Any]:
    started = clock.monotonic()
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await redis.client().command("PING")
    except (redis.RedisUnavailable, TimeoutError) as error:
        return {"status": "unhealthy", "error": getattr(error, "reason", "slow")}
    return {"status": "healthy", "latency_ms": round((clock.monotonic() - started) * 1000, 2)}


def _operations(request: HttpRequest) -> None:
    request.exchange.endpoint = "operations"  # type: ignore[attr-defined]
    if request.method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(headers={"Allow": "GET, HEAD"})


def _json(body: dict[str, Any], status: int) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json")
