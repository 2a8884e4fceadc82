"""Lanes of delivery: what they do when outcomes come late or cannot be written."""

from dataclasses import replace
from threading import Timer

import pytest
import redis

from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from sentinel.lib.redis import ledger as connect
from sentinel.zion.schemas import Delivery, Verdict
from tests.servers import free_port
from tests.usage.make import (
    REFUSED,
    SHARD,
    UNCLEAR,
    FakeZion,
    increment,
    make_due,
    make_event,
    make_terms,
    quota,
    settle,
)
from usage import outbox
from usage.batch import Draft, Kind, Member
from usage.flush import flush, renderable
from usage.resolution import Place
from usage.send import breaker_outcome

pytestmark = pytest.mark.usefixtures("ledger")


def test_an_outcome_is_written_though_redis_is_gone_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    there = config.get().redis_url

    def go_to(url: str) -> None:
        monkeypatch.setenv("REDIS_URL", url)
        config.get.cache_clear()
        connect.cache_clear()

    class Outage(FakeZion):
        def report(self, *args: object) -> Delivery:
            delivery = super().report(*args)  # type: ignore[arg-type]
            go_to(f"redis://127.0.0.1:{free_port()}")
            Timer(0.15, go_to, [there]).start()
            return delivery

    settle(make_event())
    terms = make_terms(honours_keys=False, lanes=1)

    summary = flush(SHARD, Outage(), terms)

    assert summary.applied == 1
    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}


def test_an_outcome_that_cannot_be_written_leaves_the_batch_to_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    there = config.get().redis_url

    def go_to(url: str) -> None:
        monkeypatch.setenv("REDIS_URL", url)
        config.get.cache_clear()
        connect.cache_clear()

    class Gone(FakeZion):
        def report(self, *args: object) -> Delivery:
            go_to(f"redis://127.0.0.1:{free_port()}")
            return super().report(*args)  # type: ignore[arg-type]

    settle(make_event())
    terms = replace(make_terms(lanes=1), write_again_after=(0.0,))

    with pytest.raises(RedisUnavailable):
        flush(SHARD, Gone(), terms)

    go_to(there)
    (batch_id,) = outbox.ids(SHARD, Place.BATCHES)
    assert outbox.get(SHARD, [batch_id])[0].state == "sending"


def test_a_late_report_of_a_failure_changes_nothing(ledger: redis.Redis) -> None:
    settle(make_event())
    terms = make_terms(lanes=1)

    class Slow(FakeZion):
        def report(self, *args: object) -> Delivery:
            make_due()
            flush(SHARD, FakeZion(), terms)
            return REFUSED

    assert flush(SHARD, Slow(), terms).not_applied == 0

    assert len(outbox.ids(SHARD, Place.DELIVERED)) == 1


@pytest.mark.parametrize(
    ("delivery", "outcome"),
    [
        (Delivery(Verdict.APPLIED, ""), "success"),
        (Delivery(Verdict.REJECTED, ""), "success"),
        (Delivery(Verdict.NOT_APPLIED, "", status=429), "success"),
        (UNCLEAR, "failure"),
        (Delivery(Verdict.AMBIGUOUS, ""), "abandon"),
        (Delivery(Verdict.NOT_APPLIED, "", trips_breaker=True, key_refused=True), "trip"),
    ],
)
def test_what_an_attempt_says_about_zion(delivery: Delivery, outcome: str) -> None:
    assert breaker_outcome(delivery) == outcome


def test_what_cannot_be_written_for_zion_is_set_aside_member_by_member() -> None:
    members = tuple(Member(f"{at}-1", "c", 0, b"{}", "") for at in range(2))
    zeros = Draft(Kind.SEND, (increment(input=0, output=0, requests=0),), members)

    assert [(draft.kind, len(draft.members)) for draft in renderable(zeros, make_terms().form)] == [(Kind.DEAD, 1)] * 2
