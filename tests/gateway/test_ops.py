"""What operators and their tools ask for: health and metrics."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from django.test import RequestFactory

from gateway import runtime
from gateway.views import ops
from sentinel import __version__
from sentinel.exceptions import Forbidden, MethodNotAllowed
from sentinel.lib import clock
from tests.limits.make import configure

WRITER = "from sentinel.lib import metrics; metrics.ACTIVE.inc(); metrics.WAITS.inc(3)"


@pytest.fixture
def here() -> Iterator[Any]:
    """What the views read of this process' runtime."""
    made = SimpleNamespace(is_draining=False, started=clock.monotonic(), recorder=SimpleNamespace(unconfirmed=0))
    runtime._current[:] = [made]  # type: ignore[list-item]
    yield made
    runtime._current.clear()


def request(method: str = "GET", **headers: str) -> Any:
    made = RequestFactory().generic(method, "/", headers=headers)
    made.exchange = SimpleNamespace(endpoint="")  # type: ignore[attr-defined]
    return made


async def told(view: Any) -> tuple[int, Any]:
    response = await view(request())
    return response.status_code, orjson.loads(response.content)


async def test_a_process_that_answers_is_live_whatever_else_is_down() -> None:
    assert await told(ops.live) == (200, {"status": "healthy"})


@pytest.mark.usefixtures("online")
async def test_a_process_is_ready_until_it_drains(here: Any) -> None:
    before = await told(ops.ready)
    here.is_draining = True

    assert before == (200, {"status": "healthy"})
    assert await told(ops.ready) == (503, {"status": "unhealthy"})


@pytest.mark.usefixtures("online")
async def test_health_tells_version_checks_and_what_only_the_journal_has(here: Any) -> None:
    here.recorder.unconfirmed = 3

    status, body = await told(ops.health)

    assert (status, body["status"], body["version"]) == (200, "degraded", __version__)
    assert body["checks"]["journal"]["unconfirmed"] == 3
    assert body["checks"]["redis"].keys() == {"status", "latency_ms"}
    assert body["timestamp"].endswith("+00:00")


@pytest.mark.usefixtures("here", "online")
async def test_without_redis_a_process_is_neither_ready_nor_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1")

    status, body = await told(ops.health)

    assert (status, body["status"]) == (503, "unhealthy")
    assert body["checks"]["redis"] == {"status": "unhealthy", "error": "unreachable"}
    assert (await told(ops.ready))[0] == 503


@pytest.mark.parametrize("view", [ops.live, ops.ready, ops.health, ops.metrics])
async def test_operations_are_only_read(view: Any) -> None:
    with pytest.raises(MethodNotAllowed):
        await view(request("POST"))


@pytest.mark.usefixtures("online")
async def test_metrics_need_their_token_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, metrics_token="scrape-me")

    page = await ops.metrics(request(authorization="Bearer scrape-me"))
    for given in ({}, {"authorization": "Bearer other"}):
        with pytest.raises(Forbidden):
            await ops.metrics(request(**given))

    assert page.status_code == 200
    assert b"# TYPE sentinel_quota_waits_total counter" in page.content
    assert b"sentinel_active_connections" in page.content


def test_what_runs_in_a_dead_process_is_forgotten_and_what_it_counted_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", WRITER], check=True, env=dict(os.environ))
    assert len(list(tmp_path.glob("gauge_live*_*.db"))) == 2

    page = ops._collect().decode()

    assert "sentinel_quota_waits_total 6.0" in page
    assert "sentinel_active_connections 1" not in page
    assert "sentinel_active_connections 2" not in page
    assert not list(tmp_path.glob("gauge_live*_*.db"))
