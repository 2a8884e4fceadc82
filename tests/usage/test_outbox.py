"""The atomic steps of batches in Redis."""

from dataclasses import replace

import pytest
import redis

from sentinel.lib.redis import RedisUnavailable
from tests.usage.make import FORM, SHARD, make_event, quota, settle
from usage import keys, outbox
from usage.aggregate import plan
from usage.batch import State
from usage.resolution import Place, Resolution

pytestmark = pytest.mark.usefixtures("ledger")


def sealed(*users: str) -> str:
    for user in users:
        settle(make_event(user))
    (draft,) = plan(outbox.read(SHARD, 100), max_items=100)
    return outbox.seal(SHARD, draft, FORM)


def test_sealing_takes_all_members_or_changes_nothing(ledger: redis.Redis) -> None:
    gone, _ = settle(make_event("ada")), settle(make_event("dora"))
    (draft,) = plan(outbox.read(SHARD, 100), max_items=100)
    ledger.xdel(keys.stream(SHARD), gone)

    assert outbox.seal(SHARD, draft, FORM) == ""

    assert ledger.xlen(keys.stream(SHARD)) == 1
    assert outbox.ids(SHARD, Place.BATCHES) == []


def test_an_id_that_a_restarted_server_gave_to_another_call_is_not_taken(ledger: redis.Redis) -> None:
    settle(make_event("ada"))
    (draft,) = plan(outbox.read(SHARD, 100), max_items=100)
    other = replace(draft, members=(replace(draft.members[0], call_id="another"),))

    assert outbox.seal(SHARD, other, FORM) == ""


def test_sealing_twice_is_sealing_once() -> None:
    settle(make_event("ada"))
    (draft,) = plan(outbox.read(SHARD, 100), max_items=100)

    assert outbox.seal(SHARD, draft, FORM)
    assert not outbox.seal(SHARD, draft, FORM)


async def test_what_a_worker_has_sealed_cannot_be_sealed_for_a_request() -> None:
    settle(make_event("ada"))
    (draft,) = plan(outbox.read(SHARD, 100), max_items=100)
    outbox.seal(SHARD, draft, FORM)

    assert await outbox.seal_claimed(SHARD, draft, FORM, endpoint="increment", lease_seconds=15) is None


def test_a_batch_is_claimed_by_one_until_its_lease_lapses(ledger: redis.Redis) -> None:
    batch_id = sealed("ada", "dora")

    first = outbox.claim(SHARD, batch_id, 15)
    assert first is not None
    assert (first.batch.state, first.batch.tries, first.in_doubt) == (State.SENDING, 1, False)
    assert outbox.claim(SHARD, batch_id, 15) is None
    wait, found = outbox.due(SHARD, 10)
    assert found == []
    assert wait is not None
    assert 14 < wait <= 15

    ledger.zadd(keys.batches(SHARD), {batch_id: 0})
    second = outbox.claim(SHARD, batch_id, 15)
    assert second is not None
    assert (second.batch.tries, second.batch.died, second.in_doubt) == (2, 1, True)


def test_an_outcome_is_written_once() -> None:
    claim = outbox.claim(SHARD, sealed("ada"), 15)
    assert claim is not None
    later = Resolution("not_applied", Place.BATCHES, 60_000, {"state": State.SEALED.value})

    assert outbox.resolve(SHARD, claim.batch, later, FORM)
    assert not outbox.resolve(SHARD, claim.batch, later, FORM)
    assert quota("ext-ada", "input") == {"used": 0, "pending": 10}


def test_an_id_without_a_batch_is_cleared_away(ledger: redis.Redis) -> None:
    ledger.zadd(keys.batches(SHARD), {"ghost": 0})

    assert outbox.claim(SHARD, "ghost", 15) is None
    assert outbox.due(SHARD, 10) == (None, [])


def test_sealing_passes_when_redis_is_full(ledger: redis.Redis) -> None:
    settle(make_event("ada"))
    ledger.config_set("maxmemory", 1)
    try:
        (draft,) = plan(outbox.read(SHARD, 100), max_items=100)
        batch_id = outbox.seal(SHARD, draft, FORM)
        assert outbox.claim(SHARD, batch_id, 15) is not None
    finally:
        ledger.config_set("maxmemory", 0)


def test_without_redis_everything_says_unavailable(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentinel import config
    from sentinel.lib.redis import ledger as connect

    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    config.get.cache_clear()
    connect.cache_clear()

    for ask in (
        lambda: outbox.read(SHARD, 1),
        lambda: outbox.due(SHARD, 1),
        lambda: outbox.get(SHARD, ["x"]),
        lambda: outbox.ids(SHARD, Place.DEAD),
        lambda: outbox.forget(SHARD, ["x"]),
    ):
        with pytest.raises(RedisUnavailable):
            ask()
    outbox.forget(SHARD, [])
