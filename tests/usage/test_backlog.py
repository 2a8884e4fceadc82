"""The figures that operators watch."""

import time
from dataclasses import replace

import pytest

from sentinel import config
from sentinel.lib import metrics
from sentinel.lib.redis import ledger as connect
from tests.usage.make import REFUSED, SHARD, UNCLEAR, FakeZion, Step, make_event, make_terms, settle
from usage import backlog, keys
from usage.flush import flush, seal_waiting

pytestmark = pytest.mark.usefixtures("ledger")


def test_an_idle_system_has_nothing_waiting() -> None:
    assert backlog.look(SHARD) == backlog.Backlog(0, 0, 0, 0, 0, 0, 0.0)


def test_each_place_is_counted_and_the_oldest_gives_the_age() -> None:
    settle(make_event("ada"))
    flush(SHARD, FakeZion(), make_terms())
    settle(make_event("ada"))
    flush(SHARD, FakeZion(Step(applies=False, answer=REFUSED)), make_terms())
    settle(make_event("ada"))

    found = backlog.look(SHARD)
    measured = backlog.measure()

    assert (found.events, found.batches, found.retrying, found.delivered, found.held, found.dead) == (1, 1, 1, 1, 0, 0)
    assert 0 <= found.oldest_age_seconds < 5
    assert replace(measured, oldest_age_seconds=found.oldest_age_seconds) == found
    assert measured.oldest_age_seconds >= found.oldest_age_seconds
    assert metrics.USAGE_BACKLOG._value.get() == 2
    assert backlog.due(SHARD) == 0


def test_what_is_set_aside_and_the_last_success_have_a_gauge() -> None:
    backlog.measure()
    assert metrics.USAGE_LAST_SUCCESS._value.get() == 0

    settle(make_event("ada"))
    flush(SHARD, FakeZion(Step(applies=True, answer=UNCLEAR)), make_terms(honours_keys=False))
    connect().xadd(keys.stream(SHARD), {"c": "junk", "e": b"junk"})
    seal_waiting(SHARD, make_terms())
    backlog.note_success()
    backlog.measure()

    assert [metrics.USAGE_SET_ASIDE.labels(kind)._value.get() for kind in ("held", "dead")] == [1, 1]
    assert time.time() - metrics.USAGE_LAST_SUCCESS._value.get() < 60


def test_gauges_are_about_all_shards_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_SHARDS", "2")
    config.get.cache_clear()
    for shard in range(2):
        connect().xadd(keys.stream(shard), {"c": "call", "e": "{}"})

    assert backlog.measure().events == 2
    assert metrics.USAGE_BACKLOG._value.get() == 2


def test_an_old_batch_shows(ledger: object) -> None:
    settle(make_event("ada"))
    flush(SHARD, FakeZion(Step(applies=False, answer=REFUSED)), make_terms())
    for key in connect().scan_iter(keys.batch(SHARD, "*")):
        connect().hincrby(key, "created", -3_600_000)

    assert backlog.look(SHARD).oldest_age_seconds > 3599


def test_it_says_how_long_zion_needs_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZION_REQUESTS_PER_SECOND", "2")
    monkeypatch.setenv("BATCH_MAX_ITEMS", "2")
    config.get.cache_clear()
    for user in ("ada", "ben"):
        settle(make_event(user))
    seal_waiting(SHARD, make_terms())
    for _ in range(6):
        settle(make_event("ada"))

    # One batch of two events is there; six more events fill three like it.
    assert backlog.look(SHARD).drain_seconds == 2.0
