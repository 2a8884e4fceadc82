"""The last calls of each user, as workers keep them for the caller."""

import pytest
import redis

from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from sentinel.lib.redis import ledger as connect
from tests.usage.make import NOON_MS, increment, make_batch, make_event
from usage import keys, recent
from usage.batch import Batch, Member
from usage.values import Details, UsageEvent


def delivered(*events: UsageEvent) -> Batch:
    members = tuple(Member(f"{at}-1", event.call_id, 0, event.to_json(), "") for at, event in enumerate(events))
    return make_batch(increment(), members=members)


async def test_the_newest_come_first_and_the_oldest_go(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_LAST_CALLS", "3")
    config.get.cache_clear()
    events = [make_event("ada", call_id=f"call-{at}", admitted_ms=NOON_MS + at) for at in range(5)]

    recent.note([delivered(*events[2:4]), delivered(*events[:2])])
    recent.note([delivered(events[4])])

    assert [call["id"] for call in await recent.last("ext-ada")] == ["call-4", "call-3", "call-2"]
    assert ledger.ttl(keys.recent("ext-ada")) > 0


async def test_noting_a_call_twice_is_noting_it_once(ledger: redis.Redis) -> None:
    batch = delivered(make_event("ada"), make_event("ben"))

    recent.note([batch])
    recent.note([batch])

    (call,) = await recent.last("ext-ada")
    assert (call["model"], call["input_tokens"], call["output_tokens"], call["source"]) == ("gpt-4o", 10, 5, "provider")
    assert len(await recent.last("ext-ben")) == 1


async def test_details_are_shown_only_where_there_are_any(ledger: redis.Redis) -> None:
    told = make_event("ada", details=Details(cached_input=4), admitted_ms=NOON_MS + 1)

    recent.note([delivered(make_event("ada"), told)])

    newest, oldest = await recent.last("ext-ada")
    assert newest["details"] == {"cached_input": 4}
    assert "details" not in oldest


async def test_none_are_kept_where_none_are_wanted(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USAGE_LAST_CALLS", "0")
    config.get.cache_clear()

    recent.note([delivered(make_event("ada"))])

    assert await recent.last("ext-ada") == []


def test_without_redis_it_says_unavailable(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    config.get.cache_clear()
    connect.cache_clear()

    with pytest.raises(RedisUnavailable):
        recent.note([delivered(make_event("ada"))])
