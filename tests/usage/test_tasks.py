"""Ticks, and the timer that stands in for them; with a real Celery worker on a real broker."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event, Thread
from threading import enumerate as enumerate_threads

import pytest
import redis
from celery.contrib.testing.worker import start_worker
from django.db import connection

import sentinel.celery as wiring
from sentinel import config
from sentinel.lib import metrics
from sentinel.lib.clock import monotonic
from sentinel.lib.redis import ledger as connect
from tests.servers import Served, free_port
from tests.usage.make import SHARD, make_event, quota, settle
from tests.wait import until
from usage import backlog, keys, outbox, tasks, trend
from usage.models import CallRecord, DeadLetter
from usage.resolution import Place

SANDBOX_KEY = "key-of-this-test"

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def simulator() -> Iterator[Served]:
    with Served("sentinel.sandbox.zion:app", env={"SANDBOX_ZION_KEY": SANDBOX_KEY}) as server:
        yield server


@pytest.fixture
def zion(simulator: Served, ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The simulator of Zion, fresh, and everything configured for it."""
    simulator.tell("/_control/reset")
    monkeypatch.setenv("ZION_API_URL", simulator.url)
    monkeypatch.setenv("ZION_API_KEY", SANDBOX_KEY)
    monkeypatch.setenv("ZION_HONOURS_KEYS", "true")
    refresh()
    yield simulator
    refresh()


def refresh() -> None:
    config.get.cache_clear()
    connect.cache_clear()
    tasks._zion.cache_clear()
    tasks._rhythm.stop.clear()


@pytest.fixture
def worker(zion: Served) -> Iterator[None]:
    """A worker of the real application in a thread of this process, which shares its database."""
    app = wiring.make_app(config.get())
    app.set_current()
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20):
        yield
    wiring.app.set_current()


def test_a_tick_delivers_and_writes_history(zion: Served) -> None:
    settle(make_event("ada"))
    settle(make_event("dora"))

    tasks.flush_tick()

    assert len(zion.ask("/_control/applied")) == 1
    assert quota("ext-ada", "input") == {"used": 10, "pending": 0}
    assert CallRecord.objects.count() == 2
    assert outbox.ids(SHARD, Place.DELIVERED) == []
    assert backlog.measure().batches == 0
    assert time.time() - metrics.USAGE_LAST_SUCCESS._value.get() < 60


def test_a_pass_notes_what_failed_for_the_dashboard(zion: Served) -> None:
    settle(make_event("ada"))
    zion.tell("/_control/faults", {"kind": "status", "status": 500, "on": "batch"})

    tasks.flush_tick()

    (found,) = trend.read([datetime.now(UTC)])
    assert (found["failed"], found["waiting"]) == (1, 1)


@pytest.mark.parametrize("fault", ["apply_then_cut", "apply_then_status", "garbage", "cut", "drop_results", "shuffle"])
def test_faults_of_zion_count_nothing_twice_and_lose_nothing(zion: Served, ledger: redis.Redis, fault: str) -> None:
    for user in ("ada", "dora"):
        settle(make_event(user))
    status = {"status": 502} if fault == "apply_then_status" else {}
    zion.tell("/_control/faults", {"kind": fault, "on": "batch", **status})

    for _ in range(3):
        tasks.sweep_tick()
        for batch_id in outbox.ids(SHARD, Place.BATCHES):
            ledger.zadd(keys.batches(SHARD), {batch_id: 0})

    applied = zion.ask("/_control/applied")
    assert (len(applied), len(applied[0]["items"])) == (1, 2)
    assert quota("ext-ada", "requests") == quota("ext-dora", "requests") == {"used": 1, "pending": 0}


def test_the_sweep_shows_operators_what_was_set_aside(zion: Served, ledger: redis.Redis) -> None:
    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"junk"})

    tasks.sweep_tick()

    assert DeadLetter.objects.get().kind == "dead"


def test_without_redis_or_zion_a_tick_only_waits(zion: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    refresh()

    assert tasks.deliver(budget_seconds=1) == []


def test_ticks_of_one_process_coalesce_while_a_pass_runs(ledger: redis.Redis) -> None:
    rhythm = tasks._Rhythm()

    with rhythm.only_one(0) as first, rhythm.only_one(0) as second, rhythm.only_one(1) as other:
        assert (first, second, other) == (True, False, True)
    with rhythm.only_one(0) as again:
        assert again


def test_reaping_and_pruning_run_on_an_empty_system(zion: Served) -> None:
    tasks.reap_tick()
    tasks.prune_tick()

    assert CallRecord.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_nudged_worker_delivers_what_waits(worker: None, zion: Served) -> None:
    settle(make_event("ada"))

    tasks.nudged()

    until(lambda: zion.ask("/_control/applied"), 15)


def test_the_timer_stands_in_when_no_tick_comes_and_ends_with_the_worker() -> None:
    done, stop = Event(), Event()
    tasks._rhythm.last_tick = monotonic()
    fallback = tasks.Fallback(0.01, done.set, stop)
    fallback.start()

    assert done.wait(5)
    stop.set()
    fallback.join(5)

    assert not fallback.is_alive()


def test_a_failing_pass_does_not_end_the_timer() -> None:
    calls: list[int] = []
    stop = Event()

    def fails() -> None:
        calls.append(1)
        raise RuntimeError("a bug")

    fallback = tasks.Fallback(0.01, fails, stop)
    fallback.start()

    until(lambda: len(calls) > 2, 5)
    stop.set()
    fallback.join(5)


def test_a_pass_that_runs_already_is_not_begun_again(ledger: redis.Redis) -> None:
    settle(make_event("ada"))

    with tasks._rhythm.only_one(SHARD):
        assert tasks.deliver(budget_seconds=1) == []

    assert ledger.xlen(keys.stream(SHARD)) == 1


def test_the_stand_in_reaps_no_more_often_than_beat_would(zion: Served) -> None:
    tasks.reap_tick()
    reaped = tasks._rhythm.last_reap

    tasks.stand_in()

    assert tasks._rhythm.last_reap == reaped


def test_the_stand_in_delivers_and_reaps(zion: Served) -> None:
    settle(make_event("ada"))
    tasks._rhythm.last_reap -= 2 * tasks.REAP_SECONDS

    tasks.stand_in()

    assert len(zion.ask("/_control/applied")) == 1


def test_history_waits_for_a_database_that_fails_and_delivery_does_not(zion: Served) -> None:
    settle(make_event("ada"))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE usage_batchrecord RENAME TO hidden")

    tasks.flush_tick()

    assert len(zion.ask("/_control/applied")) == 1
    assert len(outbox.ids(SHARD, Place.DELIVERED)) == 1


def test_a_worker_begins_and_ends_its_timer_with_its_own_life() -> None:
    def timers() -> list[Thread]:
        return [thread for thread in enumerate_threads() if thread.name == "delivery-fallback"]

    before = len(timers())
    tasks.start()
    assert len(timers()) == before + 1

    tasks.stop()

    until(lambda: len(timers()) == before, 5)
