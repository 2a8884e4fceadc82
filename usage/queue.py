"""The batches in Redis as people look at them: a page of one place at a time, straight from there."""

from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from sentinel.lib.redis import RedisUnavailable, ledger
from usage import keys, outbox
from usage.batch import Batch
from usage.resolution import Place

PER_PAGE = 25
_KEY_OF = {Place.BATCHES: keys.batches, Place.HELD: keys.held, Place.DEAD: keys.dead, Place.DELIVERED: keys.delivered}


@dataclass(frozen=True, slots=True)
class Row:
    """One batch of a page. `at_ms` is when it is due, or when it came to its place; `batch` is None for a torn one."""

    id: str
    at_ms: int
    now_ms: int
    batch: Batch | None

    @property
    def age_seconds(self) -> float:
        """Since it was sealed, or, for a torn one, since it came here."""
        return (self.now_ms - (self.batch.created_ms if self.batch else self.at_ms)) / 1000

    @property
    def due_in_seconds(self) -> float:
        """Until its next attempt; nothing or less: due."""
        return (self.at_ms - self.now_ms) / 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of one place, and how many there are in each."""

    rows: tuple[Row, ...]
    sizes: dict[Place, int]
    place: Place
    number: int

    @property
    def last(self) -> int:
        """The number of the last page, from 1."""
        return max(1, -(-self.sizes[self.place] // PER_PAGE))


def page(shard: int, place: Place, number: int = 1) -> Page:
    """A page of one place, next due or longest there first; pages count from 1. Raises RedisUnavailable."""
    first = (number - 1) * PER_PAGE
    try:
        with ledger().pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.zrange(_KEY_OF[place](shard), first, first + PER_PAGE - 1, withscores=True)
            for key in _KEY_OF.values():
                pipeline.zcard(key(shard))
            found: list[Any] = pipeline.execute()
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    (seconds, micros), scored, *sizes = found
    at = {batch_id.decode(): int(score) for batch_id, score in scored}
    now_ms, batches = seconds * 1000 + micros // 1000, _batches(shard, list(at))
    rows = tuple(Row(batch_id, due, now_ms, batches[batch_id]) for batch_id, due in at.items() if batch_id in batches)
    return Page(rows, dict(zip(_KEY_OF, sizes, strict=True)), place, number)


def due_ms(shard: int, batch_id: str) -> int | None:
    """When a batch may next be attempted, or its lease ends; None when it does not wait. Raises RedisUnavailable."""
    try:
        score: Any = ledger().zscore(keys.batches(shard), batch_id)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return None if score is None else int(score)


def _batches(shard: int, batch_ids: list[str]) -> dict[str, Batch | None]:
    """Each batch; one that lacks fields shows as None instead of hiding all others."""
    try:
        return {batch.id: batch for batch in outbox.get(shard, batch_ids)}
    except ValueError:
        return {batch_id: _alone(shard, batch_id) for batch_id in batch_ids}


def _alone(shard: int, batch_id: str) -> Batch | None:
    try:
        return next(iter(outbox.get(shard, [batch_id])), None)
    except ValueError:
        return None
