"""Permission for one send: from the breaker, with a permit of this moment."""

from dataclasses import replace
from threading import Event

import pytest
import redis

from sentinel.lib.breaker import Answer, Permits
from sentinel.lib.clock import monotonic
from tests.usage.make import SHARD, FakeZion, make_event, make_terms, settle
from tests.wait import until
from usage import outbox
from usage.flush import flush
from usage.gate import FRESH_SECONDS, Gate, Pass
from usage.resolution import Place

pytestmark = pytest.mark.usefixtures("ledger")


def make_gate(per_second: int = 2, seconds: float = 0.5) -> Gate:
    terms = make_terms()
    permits = replace(terms.permits, per_second=per_second)
    return Gate(terms.breaker, permits, monotonic() + seconds, Event())


def enter(gate: Gate) -> Pass:
    entry = gate.enter()
    assert isinstance(entry, Pass)
    return entry


def old(entry: Pass) -> Pass:
    return replace(entry, asked=entry.asked - 2 * FRESH_SECONDS)


def test_a_permit_that_was_not_used_at_once_is_changed_for_another() -> None:
    gate = make_gate()
    entry = enter(gate)

    assert gate.renew(entry, monotonic() + 1) == entry
    fresh = gate.renew(old(entry), monotonic() + 1)

    assert fresh is not None
    assert fresh.is_fresh()
    assert fresh.permit != entry.permit
    assert gate.permits.take().granted, "the old one was given back"


def test_without_a_new_permit_in_time_nothing_is_held(ledger: redis.Redis) -> None:
    gate = make_gate()
    entry = enter(gate)
    gate.permits.pause(60)

    assert gate.renew(old(entry), monotonic() + 0.1) is None
    assert gate.enter() == "permits"

    ledger.delete(gate.permits.key)
    assert all(gate.permits.take().granted for _ in range(2))


def test_nothing_is_sent_once_its_time_is_over() -> None:
    gate = make_gate()

    assert gate.renew(old(enter(gate)), monotonic() - 1) is None


def test_an_open_breaker_lets_nobody_in_and_takes_no_permit() -> None:
    gate = make_gate(per_second=1)
    gate.breaker.report(gate.breaker.admit().token, "trip")

    assert gate.enter() == "breaker"
    assert gate.permits.take().granted


def test_a_stop_ends_the_wait_of_who_holds_nothing() -> None:
    gate = make_gate(per_second=0, seconds=60)
    gate.permits.pause(30)
    gate.stop.set()

    assert gate.enter() == "permits"


def test_a_permit_counts_for_as_long_as_a_send_may_begin_after_it() -> None:
    gate = make_gate(per_second=1, seconds=5)
    began = monotonic()
    gate.leave(enter(gate))
    enter(gate)

    until(lambda: gate.permits.take().granted, 3)

    assert monotonic() - began > 1.0 + FRESH_SECONDS


class Paused(Permits):
    """Grants late, and at that moment Zion asks somebody else for silence."""

    def take(self) -> Answer:
        began, answer = monotonic(), super().take()
        until(lambda: monotonic() - began > FRESH_SECONDS, 1)
        self.pause(60)
        return answer


def test_a_claimed_batch_that_gets_no_permit_is_not_sent_and_not_in_doubt() -> None:
    settle(make_event())
    terms, zion = make_terms(lanes=1), FakeZion()
    permits = Paused(terms.permits.key, terms.permits.per_second)

    summary = flush(SHARD, zion, replace(terms, permits=permits), budget_seconds=0.5)

    (batch,) = outbox.get(SHARD, outbox.ids(SHARD, Place.BATCHES))
    assert (zion.sent, summary.stopped) == ([], "permits")
    assert (batch.state, batch.died, batch.doubt.total) == ("sealed", 0, 0)
