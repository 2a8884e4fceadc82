"""Celery tasks: thin doors that carry ticks, never usage. And the timer that stands in when no tick comes.

Ticks of one process coalesce: while a pass of a shard runs, further ticks for it return at once. Nothing more is needed
against overlap, and nothing with a lease that a killed worker would leave behind: passes of different processes seal
each event once and claim each batch once, so they only share the work.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Event, Lock, Thread
from typing import Any

import structlog
from celery import shared_task, signals
from django.db import DatabaseError, close_old_connections

from sentinel import config
from sentinel.lib import metrics
from sentinel.lib.clock import monotonic
from sentinel.lib.redis import RedisUnavailable
from sentinel.zion.client import Zion
from usage import backlog, history, trend
from usage.flush import Summary, flush
from usage.nudge import Listener
from usage.reaper import adopt, may_reap, reap
from usage.send import terms_of

log = structlog.get_logger(__name__)

TICK_BUDGET_SECONDS = 5.0
SWEEP_BUDGET_SECONDS = 20.0
REAP_SECONDS = 5.0
_MISSED_TICKS = 3


class _Rhythm:
    """When the last tick came, which shards have a pass running, whether the worker is stopping."""

    def __init__(self) -> None:
        self.stop = Event()
        self.last_tick = self.last_reap = monotonic()
        self._lock = Lock()
        self._busy: set[int] = set()

    @contextmanager
    def only_one(self, shard: int) -> Iterator[bool]:
        """Whether this pass may run; a second one of the same shard may not."""
        with self._lock:
            is_first = shard not in self._busy
            self._busy.add(shard)
        try:
            yield is_first
        finally:
            if is_first:
                with self._lock:
                    self._busy.discard(shard)


_rhythm = _Rhythm()


@shared_task(name="usage.flush")  # type: ignore[untyped-decorator]  # celery has no types
def flush_tick() -> None:
    """Beat's tick."""
    _rhythm.last_tick = monotonic()
    deliver(budget_seconds=TICK_BUDGET_SECONDS)


@shared_task(name="usage.sweep")  # type: ignore[untyped-decorator]  # celery has no types
def sweep_tick() -> None:
    """As a tick, with more time, whether or not there is traffic; also mirrors what was set aside."""
    deliver(budget_seconds=SWEEP_BUDGET_SECONDS)
    history.note_set_aside()


@shared_task(name="usage.reap")  # type: ignore[untyped-decorator]  # celery has no types
def reap_tick() -> None:
    """Settle calls whose worker died: from its journal, else at what was held."""
    _rhythm.last_reap = monotonic()
    adopt(config.get().sentinel_data_dir / "journal")
    if may_reap():
        for shard in _shards():
            reap(shard)


@shared_task(name="usage.prune")  # type: ignore[untyped-decorator]  # celery has no types
def prune_tick() -> None:
    """Delete history that is older than its retention."""
    log.info("history_pruned", rows=history.prune(config.get().history_days))


def deliver(*, budget_seconds: float) -> list[Summary]:
    """One pass over all shards, then their history. An outage of Redis or the database is logged; the next goes on."""
    done = []
    for shard in _shards():
        with _rhythm.only_one(shard) as is_first:
            if is_first:
                done += _deliver_shard(shard, budget_seconds)
    if done:
        _look_around(done)
    return done


def _look_around(done: Sequence[Summary]) -> None:
    """What waits now, for gauges and dashboard. Delivery goes on without."""
    try:
        failed = sum(each.not_applied + each.ambiguous + each.split + each.rejected for each in done)
        is_open = terms_of(config.get()).breaker.look().state != "closed"
        if any(each.applied for each in done):
            backlog.note_success()
        trend.note_pass(backlog.measure(), failed=failed, is_open=is_open)
    except RedisUnavailable as error:
        metrics.REDIS_ERRORS.labels(error.reason).inc()
        log.warning("backlog_not_seen", reason=str(error))


def _deliver_shard(shard: int, budget_seconds: float) -> list[Summary]:
    settings = config.get()
    try:
        summary = flush(shard, _zion(), terms_of(settings), budget_seconds=budget_seconds, stop=_rhythm.stop)
        history.write(shard)
        if summary.held or summary.dead_items:
            history.note_set_aside()
    except RedisUnavailable as error:
        metrics.REDIS_ERRORS.labels(error.reason).inc()
        log.error("delivery_waits_for_redis", shard=shard, reason=str(error))  # noqa: TRY400  # an outage, not a bug
        return []
    except DatabaseError:
        # Delivered batches stay in Redis until their history is written.
        log.exception("history_waits_for_database", shard=shard)
        return []
    if summary.sent or summary.sealed:
        log.info("usage_delivered", shard=shard, sent=summary.sent, applied_items=summary.applied_items,
                 events=summary.sealed_events, stopped=summary.stopped)  # fmt: skip
    return [summary]


class Fallback(Thread):
    """Does `work` at every interval without a tick: beat may be dead, or the broker."""

    def __init__(self, interval_seconds: float, work: Callable[[], None], stop: Event) -> None:
        super().__init__(name="delivery-fallback", daemon=True)
        self._interval_seconds = interval_seconds
        self._work = work
        self._stopping = stop

    def run(self) -> None:
        """Until the worker shuts down."""
        while not self._stopping.wait(self._interval_seconds):
            if monotonic() - _rhythm.last_tick < _MISSED_TICKS * self._interval_seconds:
                continue
            try:
                self._work()
            except Exception:  # the only way to notice a failure in here is this log line; the thread goes on
                log.exception("fallback_failed")


def stand_in() -> None:
    """What beat would have asked for."""
    close_old_connections()
    try:
        deliver(budget_seconds=TICK_BUDGET_SECONDS)
        if monotonic() - _rhythm.last_reap >= REAP_SECONDS:
            reap_tick()
    finally:
        close_old_connections()


def nudged() -> None:
    """What a gateway has asked for."""
    close_old_connections()
    try:
        deliver(budget_seconds=TICK_BUDGET_SECONDS)
    finally:
        close_old_connections()


def start(**_signal: Any) -> None:
    """Begin to watch for ticks; in the worker, once it is ready."""
    _rhythm.stop.clear()
    Fallback(config.get().flush_interval_seconds, stand_in, _rhythm.stop).start()
    Listener(nudged, _rhythm.stop).start()


def stop(**_signal: Any) -> None:
    """Finish batches in hand and take no more."""
    _rhythm.stop.set()


signals.worker_ready.connect(start)
signals.worker_shutting_down.connect(stop)


@lru_cache(maxsize=1)
def _zion() -> Zion:
    """One for all threads: it holds no connection, but reads the trusted certificates once."""
    return Zion(config.get())


def _shards() -> range:
    return range(config.get().usage_shards)
