"""What is noted hour by hour for the dashboard."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from sentinel import config
from sentinel.lib import metrics
from sentinel.lib.redis import RedisUnavailable, close
from sentinel.lib.redis import ledger as connect
from tests.servers import free_port
from usage import charts, keys, trend
from usage.backlog import Backlog

IDLE = Backlog(0, 0, 0, 0, 0, 0, 0.0)
BUSY = Backlog(events=70, batches=5, retrying=1, delivered=0, held=0, dead=0, oldest_age_seconds=90.04)


def now() -> datetime:
    return datetime.now(UTC)


def test_an_hour_keeps_the_most_that_waited_and_adds_up_what_failed(ledger: redis.Redis) -> None:
    trend.note_pass(BUSY, failed=2, is_open=True)
    trend.note_pass(IDLE, failed=1, is_open=False)

    (found,) = trend.read([now()])

    assert found == {"waiting": 75, "oldest": 90, "failed": 3, "looks": 2, "open": 1}
    for key in ledger.scan_iter(keys.trend(0)[:-1] + "*"):
        assert 0 < ledger.ttl(key) <= trend.KEEP_SECONDS


async def test_a_process_notes_what_it_refused_since_the_last_time(ledger: redis.Redis) -> None:
    metrics.DECISIONS.labels("quota").inc(5)
    refusals = trend.Refusals()
    metrics.DECISIONS.labels("quota").inc(2)
    metrics.DECISIONS.labels("rate").inc()
    metrics.DECISIONS.labels("admitted").inc()

    await refusals.push()
    await refusals.push()

    (found,) = trend.read([now()])
    assert found == {"refused:quota": 2, "refused:rate": 1}
    await close()


async def test_what_could_not_be_noted_is_noted_later(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    there, refusals = config.get().redis_url, trend.Refusals()
    metrics.DECISIONS.labels("blocked").inc(3)
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    with pytest.raises(RedisUnavailable):
        await refusals.push()
    await close()

    monkeypatch.setenv("REDIS_URL", there)
    config.get.cache_clear()
    await refusals.push()

    assert trend.read([now()]) == [{"refused:blocked": 3}]
    await close()


def test_charts_have_a_figure_per_hour(ledger: redis.Redis) -> None:
    trend.note_pass(BUSY, failed=2, is_open=True)
    trend.note_pass(BUSY, failed=0, is_open=False)
    key = keys.trend(int(now().timestamp()) // 3600)
    for name, count in {"quota": 4, "held": 1, "tokens": 2, "blocked": 3}.items():
        ledger.zincrby(key, count, f"refused:{name}")

    found = charts.noted(now())

    assert {name: figures[-1] for name, figures in found.items()} == {
        "failed": 2, "waiting": 75, "oldest": 90, "open": 50, "quota": 5, "rate": 2, "other": 3,
    }  # fmt: skip
    assert all(len(figures) == charts.HOURS and not any(figures[:-2]) for figures in found.values())


def test_without_redis_it_says_so(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    connect.cache_clear()

    asked: list[Any] = [
        lambda: trend.note_pass(IDLE, failed=0, is_open=False),
        lambda: trend.read([now() - timedelta(hours=1)]),
    ]
    for ask in asked:
        with pytest.raises(RedisUnavailable):
            ask()
