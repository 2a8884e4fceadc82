"""Whole passes of delivery against a real Redis, with Zion in memory."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
import redis

from sentinel.zion.schemas import Delivery
from tests.usage.make import (
    REFUSED,
    SHARD,
    UNCLEAR,
    FakeZion,
    Killed,
    Step,
    make_due,
    make_event,
    make_terms,
    quota,
    settle,
    user_key,
)
from usage import keys, outbox
from usage.flush import flush, seal_waiting
from usage.resolution import Place

pytestmark = pytest.mark.usefixtures("ledger")


def in_place(place: Place) -> int:
    return len(outbox.ids(SHARD, place))


def test_everything_that_waits_is_delivered_once_and_credited(ledger: redis.Redis) -> None:
    for _ in range(30):
        settle(make_event("ada"))
        settle(make_event("dora", model="gpt-4.1"))
    zion = FakeZion()

    summary = flush(SHARD, zion, make_terms())

    assert (summary.sealed_events, summary.sent, summary.applied_items) == (60, 1, 2)
    assert zion.total("input") == 600
    assert quota("ext-ada", "input") == {"used": 300, "pending": 0}
    assert ledger.hget(user_key("ext-ada"), "deliveries") == b"1"
    assert ledger.xlen(keys.stream(SHARD)) == 0
    assert in_place(Place.DELIVERED) == 1


def test_two_models_of_one_user_go_in_two_requests() -> None:
    settle(make_event(model="gpt-4o"))
    settle(make_event(model="gpt-4.1"))
    zion = FakeZion()

    flush(SHARD, zion, make_terms())

    assert len(zion.sent) == 2
    assert zion.total("requests") == 2


def test_an_event_of_zeros_is_confirmed_without_a_request() -> None:
    settle(make_event(input=0, output=0, requests=0))
    zion = FakeZion()

    summary = flush(SHARD, zion, make_terms())

    assert (summary.sealed, summary.sent, in_place(Place.DELIVERED)) == (1, 0, 1)


def test_junk_in_the_stream_becomes_a_dead_letter_and_holds_up_nobody(ledger: redis.Redis) -> None:
    ledger.xadd(keys.stream(SHARD), {"e": b"\xff junk", "c": b"\xff"})
    ledger.xadd(keys.stream(SHARD), {"other": "fields"})
    settle(make_event())
    zion = FakeZion()

    flush(SHARD, zion, make_terms())

    dead = outbox.get(SHARD, outbox.ids(SHARD, Place.DEAD))
    assert {batch.members[0].event for batch in dead} == {b"\xff junk", b""}
    assert all("unreadable" in batch.reason for batch in dead)
    assert zion.total("requests") == 1
    assert ledger.xlen(keys.stream(SHARD)) == 0


def test_a_refused_connection_is_retried_with_the_same_bytes_and_key() -> None:
    settle(make_event())
    zion = FakeZion(Step(applies=False, answer=REFUSED))
    terms = make_terms()

    assert flush(SHARD, zion, terms).not_applied == 1
    make_due()
    assert flush(SHARD, zion, terms).applied == 1

    assert len({(key, body) for _, key, body in zion.sent}) == 1


def test_an_unknown_outcome_is_sent_again_only_where_keys_are_honoured() -> None:
    settle(make_event())
    zion = FakeZion(Step(applies=True, answer=UNCLEAR))

    flush(SHARD, zion, make_terms(honours_keys=True))
    make_due()
    flush(SHARD, zion, make_terms(honours_keys=True))

    assert len(zion.sent) == 2
    assert zion.total("requests") == 1


def test_an_unknown_outcome_is_held_with_its_evidence_where_keys_are_not_honoured() -> None:
    settle(make_event())
    zion = FakeZion(Step(applies=True, answer=replace(UNCLEAR, status=502)))

    summary = flush(SHARD, zion, make_terms(honours_keys=False))
    make_due()
    flush(SHARD, zion, make_terms(honours_keys=False))

    (held,) = outbox.get(SHARD, outbox.ids(SHARD, Place.HELD))
    assert (summary.held, len(zion.sent)) == (1, 1)
    assert (held.doubt.status, held.doubt.reason, held.doubt.total) == (502, "timeout", 1)
    assert quota("ext-ada", "input") == {"used": 0, "pending": 10}


def test_ten_equal_unclear_replies_hold_a_batch() -> None:
    settle(make_event())
    zion = FakeZion(*[Step(applies=False, answer=UNCLEAR)] * 20)
    terms = make_terms()
    terms = replace(terms, breaker=replace(terms.breaker, failures=1000))

    for _ in range(12):
        flush(SHARD, zion, terms)
        make_due()

    assert (len(zion.sent), in_place(Place.HELD)) == (10, 1)


@pytest.mark.parametrize("honours_keys", [True, False])
@pytest.mark.parametrize("was_applied", [True, False])
def test_a_worker_killed_while_sending_loses_nothing_and_counts_nothing_twice(
    honours_keys: bool, was_applied: bool
) -> None:
    for _ in range(5):
        settle(make_event())
    zion, terms = FakeZion(Step(applies=was_applied, kills=True)), make_terms(honours_keys=honours_keys)

    with pytest.raises(Killed):
        flush(SHARD, zion, terms)
    flush(SHARD, zion, terms)
    assert len(zion.sent) == 1, "its lease has not lapsed"
    make_due()
    flush(SHARD, zion, terms)

    if honours_keys:
        assert zion.total("requests") == 5
        assert quota("ext-ada", "requests") == {"used": 5, "pending": 0}
    else:
        assert (len(zion.sent), in_place(Place.HELD)) == (1, 1)
        assert quota("ext-ada", "requests") == {"used": 0, "pending": 5}


def test_two_flushers_at_once_seal_and_send_each_event_once() -> None:
    for number in range(300):
        settle(make_event(("ada", "ben", "dora", "eli")[number % 4], model=f"m{number % 7}"))
    zion, terms = FakeZion(), make_terms()

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: flush(SHARD, zion, terms), range(3)))

    assert sum(summary.sealed_events for summary in done) == 300
    assert zion.total("requests") == 300
    assert all(len(bodies) == 1 for bodies in zion.bodies.values())
    assert len(zion.sent) == len(zion.bodies)
    assert sum(quota(f"ext-{user}", "requests")["used"] for user in ("ada", "ben", "dora", "eli")) == 300


def test_the_report_of_a_late_sender_counts_when_it_says_applied() -> None:
    settle(make_event())
    terms = make_terms(honours_keys=False)
    seal_waiting(SHARD, terms)
    (batch_id,) = outbox.ids(SHARD, Place.BATCHES)

    class Slow(FakeZion):
        """While the first sender waits for Zion, its lease lapses and another worker sets the batch aside."""

        def report(self, *args: object) -> Delivery:
            delivery = super().report(*args)  # type: ignore[arg-type]
            make_due()
            flush(SHARD, FakeZion(), terms)
            assert outbox.ids(SHARD, Place.HELD) == [batch_id]
            return delivery

    flush(SHARD, Slow(), terms)

    assert (in_place(Place.HELD), in_place(Place.DELIVERED)) == (0, 1)
    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}


def test_a_period_that_has_ended_is_not_credited_to_the_next() -> None:
    settle(make_event(), period_ms=1000)
    other = make_event()
    settle(other, period_ms=2000)  # the user's hash now stands in the later period

    flush(SHARD, FakeZion(), make_terms())

    assert quota("ext-ada", "input")["used"] == 10


def test_a_larger_figure_of_zion_is_taken_over(ledger: redis.Redis) -> None:
    settle(make_event())
    zion = FakeZion()
    zion.booked = Counter({("ada@example.com", "input"): 500})

    flush(SHARD, zion, make_terms())

    assert quota("ext-ada", "input") == {"used": 510, "pending": 0}
    assert quota("ext-ada", "output") == {"used": 5, "pending": 0}


def test_stop_finishes_the_batch_in_hand_and_takes_no_more() -> None:
    for model in ("a", "b", "c"):
        settle(make_event(model=model))
    stop = Event()

    class Stopping(FakeZion):
        def report(self, *args: object) -> Delivery:
            stop.set()
            return super().report(*args)  # type: ignore[arg-type]

    summary = flush(SHARD, Stopping(), make_terms(lanes=1), stop=stop)

    assert (summary.sent, summary.applied) == (1, 1)
