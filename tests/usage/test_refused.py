"""Passes against a Zion that refuses: items, batches, our key, our pace."""

from dataclasses import replace

import pytest
import redis

from sentinel.zion.schemas import Delivery, Verdict
from tests.usage.make import (
    REFUSED,
    REJECTED,
    SHARD,
    FakeZion,
    Step,
    make_due,
    make_event,
    make_terms,
    quota,
    settle,
)
from usage import keys, outbox
from usage.flush import flush
from usage.resolution import Place

pytestmark = pytest.mark.usefixtures("ledger")


def in_place(place: Place) -> int:
    return len(outbox.ids(SHARD, place))


def test_an_unknown_user_is_isolated_and_becomes_a_dead_letter_after_five_tries() -> None:
    for user in ("ada", "dora", "eli"):
        settle(make_event(user))
    zion, terms = FakeZion(unknown=["eli@example.com"]), make_terms()

    for _ in range(8):
        flush(SHARD, zion, terms)
        make_due()

    (dead,) = outbox.get(SHARD, outbox.ids(SHARD, Place.DEAD))
    assert ([item.external_id for item in dead.items], dead.reason, dead.rejections) == (
        ["ext-eli"],
        "user not found",
        5,
    )
    assert zion.total("requests") == 2
    assert (len(zion.sent), len(zion.bodies), in_place(Place.BATCHES)) == (5, 5, 0)
    assert quota("ext-eli", "input") == {"used": 0, "pending": 10}
    delivered = outbox.get(SHARD, outbox.ids(SHARD, Place.DELIVERED))
    assert sorted(member.usage().external_id for batch in delivered for member in batch.members) == [
        "ext-ada",
        "ext-dora",
    ]


def test_a_rejected_batch_is_halved_until_the_item_at_fault_is_alone() -> None:
    class Picky(FakeZion):
        def _apply(self, body: bytes, key: str) -> Delivery:
            return REJECTED if b"eli@" in body else super()._apply(body, key)

    users = ["ada", "ben", "dora", "eli", "fay", "gus", "hal"]
    for user in users:
        settle(make_event(user))
    zion, terms = Picky(), make_terms()

    for _ in range(12):
        flush(SHARD, zion, terms)
        make_due()

    assert {email for email, _ in zion.booked} == {f"{user}@example.com" for user in users if user != "eli"}
    assert zion.total("requests") == 6
    (dead,) = outbox.get(SHARD, outbox.ids(SHARD, Place.DEAD))
    assert dead.items[0].external_id == "ext-eli"


def test_too_large_a_batch_is_halved() -> None:
    class Small(FakeZion):
        def _apply(self, body: bytes, key: str) -> Delivery:
            if body.count(b"email") > 2:
                return Delivery(Verdict.NOT_APPLIED, "too large", status=413)
            return super()._apply(body, key)

    for user in ("ada", "ben", "dora", "eli", "fay"):
        settle(make_event(user))
    zion = Small()

    flush(SHARD, zion, make_terms())

    assert zion.total("requests") == 5


def test_three_failures_open_the_breaker_and_work_waits(ledger: redis.Redis) -> None:
    for model in ("a", "b", "c", "d", "e", "f"):
        settle(make_event(model=model))
    zion, terms = FakeZion(*[Step(applies=False, answer=REFUSED)] * 6), make_terms(lanes=1)

    summary = flush(SHARD, zion, terms)
    assert (summary.stopped, len(zion.sent)) == ("breaker", 3)
    make_due()
    assert flush(SHARD, zion, terms).sent == 0

    zion.steps.clear()
    ledger.hset(keys.breaker(), "until", 0)  # the pause is over
    make_due()
    flush(SHARD, zion, terms)
    assert zion.total("requests") == 6


def test_a_refused_key_stops_all_sending_at_once() -> None:
    for model in ("a", "b"):
        settle(make_event(model=model))
    refusal = Delivery(Verdict.NOT_APPLIED, "our key is refused", trips_breaker=True, status=401, key_refused=True)
    zion = FakeZion(Step(applies=False, answer=refusal))

    summary = flush(SHARD, zion, make_terms(lanes=1))

    assert (summary.sent, summary.stopped, in_place(Place.BATCHES)) == (1, "breaker", 2)


def test_nothing_is_sent_before_retry_after() -> None:
    for model in ("a", "b"):
        settle(make_event(model=model))
    busy = Delivery(Verdict.NOT_APPLIED, "status 429", status=429, retry_after_seconds=60.0)
    zion, terms = FakeZion(Step(applies=False, answer=busy)), make_terms(lanes=1)

    summary = flush(SHARD, zion, terms, budget_seconds=0.5)
    make_due()
    again = flush(SHARD, zion, terms, budget_seconds=0.5)

    assert (summary.sent, again.sent, again.stopped) == (1, 0, "permits")
    assert terms.breaker.look().state == "closed"


def test_twenty_requests_a_second_are_not_exceeded_and_waited_for() -> None:
    for number in range(30):
        settle(make_event(model=f"m{number}"))
    zion, terms = FakeZion(), make_terms()
    terms = replace(terms, permits=replace(terms.permits, per_second=20))

    first = flush(SHARD, zion, terms, budget_seconds=0.6)
    assert (first.sent, first.stopped) == (20, "permits")
    second = flush(SHARD, zion, terms, budget_seconds=5)

    assert (second.sent, zion.total("requests")) == (10, 30)
