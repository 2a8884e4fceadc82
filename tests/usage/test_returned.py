"""A Redis that lost its memory gets its settles back from the journal: what Zion has is not sent again."""

import pytest
import redis

from sentinel import config
from tests.usage.make import SHARD, FakeZion, make_event, make_terms, quota, user_key
from usage import history, keys
from usage.flush import flush
from usage.recorder import SETTLE, settle_call
from usage.values import UsageEvent

pytestmark = [pytest.mark.usefixtures("ledger"), pytest.mark.django_db]
QUOTA = "ai_usage.input"


def settle_and_deliver(zion: FakeZion, *events: UsageEvent) -> None:
    for event in events:
        SETTLE.run(*settle_call(event))
    flush(SHARD, zion, make_terms())
    history.write(SHARD)


def test_an_event_that_was_delivered_before_redis_lost_it_is_not_sent_again(ledger: redis.Redis) -> None:
    zion, event = FakeZion(), make_event()
    settle_and_deliver(zion, event)
    sent = len(zion.sent)

    for key in ledger.keys(f"{config.get().redis_key_prefix}*"):
        ledger.delete(key)
    ledger.hset(user_key("ext-ada"), mapping={"quotas": QUOTA, f"{QUOTA}:limit": 1000, f"{QUOTA}:used": 10})
    settle_and_deliver(zion, event)

    assert len(zion.sent) == sent
    assert ledger.xlen(keys.stream(SHARD)) == 0
    assert quota("ext-ada", "input") == {"used": 10, "pending": 0}


def test_an_event_that_never_reached_zion_is_sent_once_after_redis_lost_it(ledger: redis.Redis) -> None:
    zion, event = FakeZion(), make_event()
    SETTLE.run(*settle_call(event))
    for key in ledger.keys(f"{config.get().redis_key_prefix}*"):
        ledger.delete(key)

    settle_and_deliver(zion, event, event)

    assert zion.total("input") == event.input
