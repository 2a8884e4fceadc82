"""Hour by hour, what no row of the history tells: refusals, failed attempts, the backlog and its age, the breaker.

A view for the dashboard, not a ledger: one sorted set per hour in Redis, kept for a day; what is lost is a lower bar.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from redis.exceptions import RedisError

from sentinel.lib import clock, metrics
from sentinel.lib.redis import RedisUnavailable, client, ledger
from usage import keys
from usage.backlog import Backlog

KEEP_SECONDS = 90_000  # 25 hours: the present one and the 24 before it
_HOUR_MS = 3_600_000
_PUSH_SECONDS = 10.0
_NOT_REFUSED = frozenset({"admitted", "would_refuse"})


def note_pass(found: Backlog, *, failed: int, is_open: bool) -> None:
    """What a worker saw after a pass, and how many attempts failed in it. Raises RedisUnavailable."""
    key = keys.trend(clock.now_ms() // _HOUR_MS)
    most = {"waiting": found.events + found.batches, "oldest": round(found.oldest_age_seconds, 1)}
    try:
        with ledger().pipeline(transaction=False) as pipeline:
            pipeline.zadd(key, most, gt=True)
            for name, more in {"failed": failed, "looks": 1, "open": int(is_open)}.items():
                pipeline.zincrby(key, more, name)
            pipeline.expire(key, KEEP_SECONDS)
            pipeline.execute()
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error


def read(hours: Sequence[datetime]) -> list[dict[str, float]]:
    """What was noted in each of these hours. Raises RedisUnavailable."""
    try:
        with ledger().pipeline(transaction=False) as pipeline:
            for hour in hours:
                pipeline.zrange(keys.trend(int(hour.timestamp() * 1000) // _HOUR_MS), 0, -1, withscores=True)
            found: list[Any] = pipeline.execute()
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return [{name.decode(): score for name, score in noted} for noted in found]


class Refusals:
    """Brings what this gateway process refuses into the hours, now and then: nothing of it is on a call's path."""

    def __init__(self) -> None:
        self._noted = _refused()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_PUSH_SECONDS)
            try:
                await self.push()
            except RedisUnavailable as error:
                metrics.of(metrics.REDIS_ERRORS, error.reason).inc()

    async def push(self) -> None:
        """Note what was refused since the last time. Raises RedisUnavailable; it is noted the next time then."""
        present = _refused()
        key = keys.trend(clock.now_ms() // _HOUR_MS)
        for name, count in present.items():
            if more := count - self._noted.get(name, 0):
                await client().command("ZINCRBY", key, more, f"refused:{name}")
                await client().command("EXPIRE", key, KEEP_SECONDS)
            self._noted[name] = count


def _refused() -> dict[str, int]:
    counts = {
        sample.labels["decision"]: int(sample.value)
        for metric in metrics.DECISIONS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    return {name: count for name, count in counts.items() if name not in _NOT_REFUSED}
