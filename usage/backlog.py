"""How much usage waits for Zion, where, and since when: for gauges, the summary command and the admin."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from redis.exceptions import RedisError

from sentinel import config
from sentinel.lib import metrics, redis
from sentinel.lib.clock import now_ms
from sentinel.lib.redis import RedisUnavailable, ledger
from usage import keys, outbox
from usage.batch import Batch
from usage.resolution import Place

_OLDEST_AMONG = 200


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts of one shard. `events` are not sealed yet; the rest are batches. The age is that of the oldest of both.

    `drain_seconds` is how long Zion needs at least to take all of it, at the rate that it is allowed to be asked.
    """

    events: int
    batches: int
    retrying: int
    delivered: int
    held: int
    dead: int
    oldest_age_seconds: float
    drain_seconds: float = 0.0


_NAMES = [each.name for each in fields(Backlog)]
_OVER_SHARDS: dict[str, Callable[[Iterable[Any]], Any]] = {"oldest_age_seconds": max}


def look(shard: int) -> Backlog:
    """The present figures. Raises RedisUnavailable."""
    try:
        with ledger().pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.xlen(keys.stream(shard))
            pipeline.xrange(keys.stream(shard), count=1)
            for key in (keys.batches(shard), keys.delivered(shard), keys.held(shard), keys.dead(shard)):
                pipeline.zcard(key)
            found: list[Any] = pipeline.execute()
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    (seconds, micros), events, first, batches, delivered, held, dead = found
    present_ms = seconds * 1000 + micros // 1000
    waiting = outbox.get(shard, outbox.ids(shard, Place.BATCHES, _OLDEST_AMONG)) if batches else []
    since = [batch.created_ms for batch in waiting] + [int(entry_id.split(b"-")[0]) for entry_id, _ in first]
    return Backlog(
        events=events,
        batches=batches,
        retrying=sum(batch.tries > 0 or batch.rejections > 0 for batch in waiting),
        delivered=delivered,
        held=held,
        dead=dead,
        oldest_age_seconds=max(0.0, (present_ms - min(since)) / 1000) if since else 0.0,
        drain_seconds=_drain_seconds(events, batches, waiting),
    )


def _drain_seconds(events: int, batches: int, waiting: Sequence[Batch]) -> float:
    settings = config.get()
    in_batches = sum(len(batch.members) for batch in waiting)
    # The last batch of each round is small; a long backlog fills them.
    events_a_batch = max(in_batches / max(len(waiting), 1), settings.batch_max_items)
    return round((batches + math.ceil(events / events_a_batch)) / settings.zion_requests_per_second, 1)


def measure() -> Backlog:
    """Set the gauges to what is true of all shards and workers now, and return it. Raises RedisUnavailable.

    Redis knows it all, so any process can: where workers have a metrics folder of their own, gateways show it.
    """
    shards = [look(shard) for shard in range(config.get().usage_shards)]
    found = Backlog(**{name: _OVER_SHARDS.get(name, sum)(getattr(each, name) for each in shards) for name in _NAMES})
    metrics.USAGE_BACKLOG.set(found.events + found.batches)
    metrics.USAGE_OLDEST.set(found.oldest_age_seconds)
    metrics.USAGE_SET_ASIDE.labels("held").set(found.held)
    metrics.USAGE_SET_ASIDE.labels("dead").set(found.dead)
    metrics.USAGE_LAST_SUCCESS.set(int(_asked("GET", keys.last_success()) or 0) / 1000)
    return found


def note_success() -> None:
    """Zion has confirmed usage just now. Raises RedisUnavailable."""
    _asked("SET", keys.last_success(), now_ms())


def _asked(*command: Any) -> Any:
    try:
        return redis.command(*command)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error


def due(shard: int) -> int:
    """Batches that could be attempted now, at most a few hundred. Raises RedisUnavailable."""
    return len(outbox.due(shard, _OLDEST_AMONG)[1])
