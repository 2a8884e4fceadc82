"""The breaker and the permits that all processes share."""

from dataclasses import replace
from uuid import uuid4

import pytest
import redis

from sentinel.lib.breaker import Breaker, Permits
from tests.wait import until


@pytest.fixture
def breaker(ledger: redis.Redis) -> Breaker:
    return Breaker(f"breaker:{uuid4().hex}", failures=3, open_seconds=30, probe_seconds=10)


@pytest.fixture
def permits(ledger: redis.Redis) -> Permits:
    return Permits(f"permits:{uuid4().hex}", per_second=5)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.report(breaker.admit().token, "failure")


def half_open(breaker: Breaker, ledger: redis.Redis) -> str:
    fail(breaker, 3)
    ledger.hset(breaker.key, "until", 0)  # thirty seconds later
    return breaker.admit().token


def test_three_failures_in_a_row_open_it_and_a_success_between_does_not(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.report(breaker.admit().token, "success")
    fail(breaker, 2)
    assert breaker.look().state == "closed"

    fail(breaker, 1)

    answer = breaker.admit()
    assert (answer.granted, answer.state) == (False, "open")
    assert 29 < answer.wait_seconds <= 30


def test_after_the_pause_one_probe_passes_and_its_success_closes(breaker: Breaker, ledger: redis.Redis) -> None:
    probe = half_open(breaker, ledger)

    assert (breaker.admit().granted, breaker.look().state) == (False, "half_open")
    breaker.report(probe, "success")

    assert breaker.admit().granted


def test_a_failed_probe_opens_it_again(breaker: Breaker, ledger: redis.Redis) -> None:
    breaker.report(half_open(breaker, ledger), "failure")

    assert breaker.look().state == "open"
    assert breaker.look().wait_seconds > 29


def test_a_probe_that_says_nothing_lapses_and_the_next_caller_probes(breaker: Breaker, ledger: redis.Redis) -> None:
    half_open(breaker, ledger)
    ledger.hset(breaker.key, "probe_until", 0)  # its time is over

    assert breaker.admit().granted


def test_an_abandoned_probe_lets_the_next_caller_probe(breaker: Breaker, ledger: redis.Redis) -> None:
    breaker.report(half_open(breaker, ledger), "abandon")

    assert breaker.admit().granted


def test_late_answers_to_sends_from_before_the_opening_change_nothing(breaker: Breaker, ledger: redis.Redis) -> None:
    early = breaker.admit().token
    probe = half_open(breaker, ledger)

    breaker.report(early, "success")
    assert breaker.look().state == "half_open"
    breaker.report(probe, "success")
    for _ in range(5):
        breaker.report(early, "failure")

    assert breaker.look().state == "closed"


def test_a_trip_opens_it_at_once(breaker: Breaker) -> None:
    breaker.report(breaker.admit().token, "trip")

    assert not breaker.admit().granted


async def test_the_request_path_sees_the_same_breaker(breaker: Breaker) -> None:
    for _ in range(3):
        await breaker.report_async((await breaker.admit_async()).token, "failure")

    assert not breaker.admit().granted


def test_no_more_permits_than_allowed_in_a_second(permits: Permits) -> None:
    taken = [permits.take() for _ in range(8)]

    assert [answer.granted for answer in taken] == [True] * 5 + [False] * 3
    assert 0 < taken[-1].wait_seconds <= 1.051


def test_a_permit_given_back_is_free_again(permits: Permits) -> None:
    taken = [permits.take() for _ in range(5)]
    permits.give(taken[0].token)

    assert permits.take().granted
    assert not permits.take().granted


def test_permits_come_back_after_a_second(permits: Permits) -> None:
    for _ in range(5):
        permits.take()

    until(lambda: permits.take().granted, 3)


async def test_a_pause_that_zion_asked_for_holds_for_all_and_ends(permits: Permits) -> None:
    await permits.pause_async(60)
    permits.pause(1)  # a shorter one does not shorten it

    refused = await permits.take_async()
    assert not refused.granted
    assert refused.wait_seconds > 59

    short = replace(permits, key=permits.key + ":short")
    short.pause(0.05)
    until(lambda: short.take().granted, 3)
