import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from limits import keys
from limits.admission import release
from limits.replies import Revoked
from limits.values import Principal
from sentinel import config
from sentinel.exceptions import (
    CallError,
    Forbidden,
    GovernanceUnavailable,
    QuotaExceeded,
    QuotaStoreUnavailable,
    RateLimitExceeded,
)
from sentinel.lib import background
from sentinel.lib import redis as connections
from sentinel.zion.schemas import ZionUnavailable
from tests.limits.make import (
    FakeZion,
    admit,
    configure,
    everything,
    held,
    loop_turns,
    make_admission,
    make_ask,
    make_draft,
    make_limit,
    make_limits,
    make_principal,
    redis_now_ms,
    state,
    store,
)
from tests.redis_server import private_server
from tests.wait import eventually

pytestmark = pytest.mark.usefixtures("online")
DAY_MS = 86_400_000


def user_key(user: str = "ada") -> str:
    return keys.user(f"ext-{user}")


def seen_by_redis(command: str) -> int:
    """How often the server ran this command."""
    statistics: dict[str, dict[str, int]] = connections.ledger().info("commandstats")
    return statistics.get(f"cmdstat_{command}", {}).get("calls", 0)


def rate_key(user: str = "ada") -> str:
    return keys.rate(f"ext-{user}")


async def test_an_admitted_call_holds_what_it_asked_for() -> None:
    store(*make_limits())

    grant = await admit(make_admission(), make_ask(30, choices=2, cap=100), call_id="c1")

    assert (grant.cap, grant.held_input, grant.held_output) == (100, 30, 200)
    assert (held("input"), held("output"), held("requests")) == (30, 200, 1)
    assert state()["active"] == 1
    call = connections.command("HGETALL", keys.call(grant.shard, "c1"))
    assert call[b"state"] == b"open"
    assert connections.command("ZSCORE", keys.leases(grant.shard), "c1") == grant.admitted_ms + 90_000


async def test_limits_are_fetched_once_for_a_user_nobody_knows() -> None:
    zion = FakeZion(*make_limits())
    admission = make_admission(zion)

    grants = await asyncio.gather(*(admit(admission) for _ in range(5)))

    assert zion.asked == 1
    assert len({grant.call_id for grant in grants}) == 5


async def test_a_user_whose_limits_zion_does_not_tell_is_refused_as_an_outage() -> None:
    zion = FakeZion()
    zion.failure = ZionUnavailable("down")

    with pytest.raises(GovernanceUnavailable):
        await admit(make_admission(zion))


async def test_stale_limits_serve_while_zion_fails_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    zion = FakeZion(*make_limits())
    admission = make_admission(zion)
    store(*make_limits())
    zion.failure = ZionUnavailable("down")
    connections.command("HSET", user_key(), "fetched_at", redis_now_ms() - 301_000)

    await admit(admission)
    connections.command("HSET", user_key(), "fetched_at", redis_now_ms() - 1_201_000)

    with pytest.raises(GovernanceUnavailable):
        await admit(admission)
    configure(monkeypatch, limits_stale_seconds=0)
    connections.command("HSET", user_key(), "fetched_at", redis_now_ms() - 301_000)
    with pytest.raises(GovernanceUnavailable):
        await admit(admission)


async def test_limits_nearing_their_end_are_refreshed_behind_the_call_by_one_caller() -> None:
    zion = FakeZion(*make_limits())
    admission = make_admission(zion)
    store(*make_limits())
    connections.command("HSET", user_key(), "fetched_at", redis_now_ms() - 299_000)
    zion.slow = asyncio.Event()

    await admit(admission)
    await admit(admission)
    zion.slow.set()

    await eventually(lambda: "refreshing" not in state())
    assert zion.asked == 1


async def test_a_failed_refresh_behind_a_call_leaves_the_old_limits() -> None:
    zion = FakeZion()
    zion.failure = ZionUnavailable("down")
    store(*make_limits())
    connections.command("HSET", user_key(), "fetched_at", redis_now_ms() - 299_000)

    await admit(make_admission(zion))

    await eventually(lambda: zion.asked == 1)
    assert state()["ai_usage.output:limit"] == 1000


async def test_a_user_without_any_limit_is_refused_unless_empty_means_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = make_admission(FakeZion())

    with pytest.raises(Forbidden):
        await admit(admission)
    configure(monkeypatch, limits_when_empty="allow")
    connections.command("DEL", user_key())

    grant = await admit(admission, make_ask(cap=None, generous=4000))
    assert (grant.cap, grant.held_output) == (None, 4000)


async def test_dora_is_unlimited_and_gets_the_cap_she_asks_for() -> None:
    store(*make_limits(None, None, None))
    admission = make_admission()

    capped = await admit(admission, make_ask(cap=77))
    uncapped = await admit(admission, make_ask(cap=None))

    assert (capped.cap, uncapped.cap) == (77, None)
    assert state()["active"] == 2


async def test_a_token_validated_before_or_at_the_revocation_is_refused_and_a_later_one_is_not() -> None:
    store(*make_limits())
    connections.command("HSET", user_key(), "revoked_at", 1000)
    admission = make_admission()

    for validated_ms in (999, 1000):
        with pytest.raises(Revoked):
            await admit(admission, validated_ms=validated_ms)

    await admit(admission, validated_ms=1001)


async def test_a_blocked_user_is_refused_also_with_a_fresh_token() -> None:
    store(*make_limits())
    connections.command("HSET", user_key(), "blocked", "by an operator")

    with pytest.raises(Forbidden):
        await admit(make_admission())


async def test_the_rate_window_slides_by_the_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, rate_limit_requests=2, rate_limit_window_seconds=60)
    store(*make_limits())
    admission = make_admission()
    now = redis_now_ms()
    connections.command("ZADD", rate_key(), now - 59_000, "inside", now + 60_000, "of a clock that went back")

    with pytest.raises(RateLimitExceeded) as refused:
        await admit(admission)
    connections.command("ZADD", rate_key(), now - 60_000, "inside")  # as old as the window: outside
    grant = await admit(admission)

    assert 1 <= (refused.value.retry_after_seconds or 0) <= 2
    assert refused.value.rate == (2, 0, now + 1000)
    assert grant.rate.remaining == 0
    assert connections.command("ZSCORE", rate_key(), "inside") is None


async def test_refused_calls_are_not_counted_against_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, rate_limit_requests=3)
    store(*make_limits())
    admission = make_admission()
    grants = [await admit(admission) for _ in range(3)]

    for _ in range(5):
        with pytest.raises(RateLimitExceeded):
            await admit(admission)

    assert connections.command("ZCARD", rate_key()) == 3
    assert [grant.rate.remaining for grant in grants] == [2, 1, 0]
    assert await admission.rate(make_principal()) == (3, 0, grants[0].admitted_ms + 60_000)


async def test_too_many_calls_at_once_are_refused_until_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, max_concurrent_calls_per_user=1)
    store(*make_limits())
    admission = make_admission()
    grant = await admit(admission)

    with pytest.raises(RateLimitExceeded) as refused:
        await admit(admission)
    await release(grant)
    await admit(admission)

    assert refused.value.retry_after_seconds == 1


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        ({"revoked_at": 2**53}, Revoked),
        ({"blocked": "x"}, Forbidden),
        ({"active": 1000}, RateLimitExceeded),
        ({"ai_usage.requests:used": 100}, QuotaExceeded),
        ({"ai_usage.input:pending": 991}, QuotaExceeded),
        ({"ai_usage.output:held": 999}, QuotaExceeded),
    ],
)
async def test_a_refusal_writes_nothing(prepare: dict[str, Any], error: type[Exception]) -> None:
    store(*make_limits())
    await admit(make_admission())  # the scripts are known, the rate window exists
    for name, value in prepare.items():
        connections.command("HSET", user_key(), name, value)
    before = everything()

    with pytest.raises(error):
        await admit(make_admission())

    assert everything() == before


async def test_a_call_is_never_decided_twice() -> None:
    store(*make_limits())
    admission = make_admission()
    await admit(admission, call_id="c1")
    before = everything()

    with pytest.raises(QuotaStoreUnavailable):
        await admit(admission, call_id="c1")

    assert everything() == before


async def test_a_call_that_was_given_up_holds_nothing_when_its_admit_runs_late() -> None:
    store(*make_limits())
    admission = make_admission()
    grant = await admit(admission, call_id="c1")
    await release(grant)
    await release(grant)

    with pytest.raises(QuotaStoreUnavailable):
        await admit(admission, call_id="c1")

    assert (held("output"), state()["active"]) == (0, 0)


async def test_an_admit_that_redis_takes_up_after_its_caller_gave_up_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with private_server() as server:
        configure(monkeypatch, redis_url=server.url)
        connections.ledger.cache_clear()
        store(*make_limits())
        admission = make_admission()
        await release(await admit(admission, call_id="before"))
        admits = seen_by_redis("evalsha")
        configure(monkeypatch, redis_timeout_seconds=0.1)

        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(QuotaStoreUnavailable):
            await admit(admission, call_id="late")
        for task in background.running():  # the process ends before it can release what it may hold
            task.cancel()
        os.kill(server.pid, signal.SIGCONT)

        await eventually(lambda: seen_by_redis("evalsha") == admits + 1)
        assert (connections.command("EXISTS", keys.call(0, "late")), held("output"), state()["active"]) == (0, 0, 0)
        connections.ledger().close()


async def test_a_clock_of_redis_that_jumps_ahead_costs_a_question_and_no_call() -> None:
    store(*make_limits())
    admission = make_admission()
    admission._clock.heard(redis_now_ms() - DAY_MS)

    await admit(admission, call_id="c1")

    assert state()["active"] == 1


async def test_used_quota_is_told_apart_from_quota_that_others_hold() -> None:
    store(*make_limits(output=100))
    admission = make_admission()
    await admit(admission, make_ask(cap=90))

    with pytest.raises(QuotaExceeded) as by_holds:
        await admit(admission, make_ask(cap=50))
    connections.command("HSET", user_key(), "ai_usage.output:held", 0, "ai_usage.output:used", 95)
    with pytest.raises(QuotaExceeded) as by_use:
        await admit(admission, make_ask(cap=50))

    assert "held by other calls" in by_holds.value.message
    assert by_holds.value.retry_after_seconds == 1
    assert by_holds.value.details is not None
    assert by_holds.value.details["remaining"] == 10
    assert by_use.value.should_retry is False
    assert (by_use.value.retry_after_seconds or 0) > DAY_MS // 1000


async def test_ben_with_one_token_left_is_refused_and_eli_far_over_too() -> None:
    store(make_limit("output", 1_000_000, used=999_999), user="ben")
    store(make_limit("output", 1000, used=2000), user="eli")

    for user in ("ben", "eli"):
        with pytest.raises(QuotaExceeded):
            await admit(make_admission(), user=user)
    grant = await admit(make_admission(), make_ask(cap=1), user="ben")

    assert grant.held_output == 1


async def test_the_last_unit_is_given_and_not_one_more() -> None:
    store(*make_limits(input=100))
    admission = make_admission()

    await admit(admission, make_ask(99))
    await admit(admission, make_ask(1))

    with pytest.raises(QuotaExceeded):
        await admit(admission, make_ask(1))
    assert held("input") == 100


async def test_two_limits_of_one_metric_both_hold_and_the_tighter_decides() -> None:
    store(make_limit("output", 500), make_limit("output", 60, name="daily"))
    admission = make_admission()

    grant = await admit(admission, make_ask(cap=80))

    assert grant.cap == 60
    assert (state()["ai_usage.output:held"], state()["daily.output:held"]) == (60, 60)


async def test_limits_just_below_two_to_the_53_are_counted_exactly() -> None:
    top = 2**53 - 1
    store(make_limit("output", top, used=top - 101))
    admission = make_admission()

    await admit(admission, make_ask(cap=100))

    assert (await admit(admission, make_ask(cap=1))).held_output == 1
    with pytest.raises(QuotaExceeded):
        await admit(admission, make_ask(cap=1))


async def test_an_absurd_cap_of_an_unlimited_user_can_be_held_and_reaped() -> None:
    store(*make_limits(None, None, None))

    grant = await admit(make_admission(), make_ask(choices=2**40, cap=2**52), call_id="c1")

    kept = connections.command("HGET", keys.call(grant.shard, "c1"), "output")
    assert int(kept) == grant.held_output == 2**53


# --- the output cap


async def test_a_given_cap_is_lowered_to_what_is_left_of_the_quota() -> None:
    store(make_limit("output", 1000, used=900))

    grant = await admit(make_admission(), make_ask(cap=5000))

    assert (grant.cap, grant.held_output) == (100, 100)


async def test_a_cap_is_not_lowered_below_what_is_worth_admitting() -> None:
    store(make_limit("output", 1000, used=990))

    with pytest.raises(QuotaExceeded):
        await admit(make_admission(), make_ask(cap=5000))


async def test_a_cap_for_several_choices_is_lowered_per_choice() -> None:
    store(make_limit("output", 100))

    grant = await admit(make_admission(), make_ask(choices=3, cap=50))

    assert (grant.cap, grant.held_output) == (33, 99)


async def test_a_firm_cap_is_refused_rather_than_lowered() -> None:
    store(make_limit("output", 1000, used=900))
    firm = replace(make_ask(cap=101), least=101)

    with pytest.raises(QuotaExceeded):
        await admit(make_admission(), firm)

    assert held("output") == 0
    fits = await admit(make_admission(), replace(firm, cap=100, least=100))
    assert (fits.cap, fits.held_output) == (100, 100)


async def test_a_firm_cap_waits_for_what_only_other_calls_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=5)
    store(make_limit("output", 1000))
    admission = make_admission()
    first = await admit(admission, make_ask(cap=600))
    waiting = asyncio.ensure_future(admit(admission, replace(make_ask(cap=500), least=500)))
    await eventually(lambda: connections.command("ZCARD", keys.waiting("ext-ada")))

    await release(first)
    admission.queue.ended("ext-ada")

    assert (await waiting).held_output == 500


async def test_without_a_cap_all_that_is_free_is_granted_while_nobody_else_holds() -> None:
    store(make_limit("output", 5000, used=1000))

    grant = await admit(make_admission(), make_ask(cap=None))

    assert grant.cap == 4000


async def test_without_a_cap_a_share_is_granted_while_others_hold_but_at_least_the_floor() -> None:
    store(make_limit("output", 100_000))
    store(make_limit("output", 5000), user="ben")
    admission = make_admission()
    for user in ("ada", "ben"):
        await admit(admission, make_ask(cap=1000), user=user)

    share = await admit(admission, make_ask(cap=None))
    floor = await admit(admission, make_ask(cap=None), user="ben")

    assert share.cap == 99_000 // 16
    assert floor.cap == 1024


async def test_without_a_cap_no_more_than_the_generous_cap_is_granted() -> None:
    store(make_limit("output", 10_000_000))

    grant = await admit(make_admission(), make_ask(cap=None, generous=16_384))

    assert grant.cap == 16_384


async def test_a_call_without_output_holds_none_and_is_not_stopped_by_a_used_up_quota() -> None:
    store(make_limit("output", 100, used=100), make_limit("requests", 1, used=1))

    grant = await admit(make_admission(), make_ask(0, choices=0, cap=None, generous=0, requests=0))

    assert (grant.cap, grant.held_output, grant.rate.remaining) == (None, 0, 99)


# --- soft and observe


async def test_soft_mode_admits_until_the_quota_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_mode="soft")
    store(make_limit("output", 100, used=99))
    admission = make_admission()

    grant = await admit(admission, make_ask(cap=None))
    connections.command("HSET", user_key(), "ai_usage.output:pending", 1)

    assert (grant.cap, grant.held_output) == (None, 1024)
    with pytest.raises(QuotaExceeded):
        await admit(admission)


async def test_soft_mode_says_whom_it_admitted_beyond_what_was_free(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_mode="soft")
    store(make_limit("output", 100))
    admission = make_admission()

    within, beyond = [await admit(admission, make_ask(cap=cap)) for cap in (100, 1)]

    assert [grant.would_refuse for grant in (within, beyond)] == ["", "ai_usage.output"]


async def test_observe_mode_admits_everybody_and_says_whom_it_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_mode="observe", rate_limit_requests=1)
    store(make_limit("output", 100, used=200))
    admission = make_admission()

    by_quota = await admit(admission, make_ask(cap=50))
    connections.command("HSET", user_key(), "ai_usage.output:used", 0)
    by_rate = await admit(admission, make_ask(cap=20))
    configure(monkeypatch, rate_limit_requests=100, max_concurrent_calls_per_user=1)
    by_concurrency = await admit(admission, make_ask(cap=20))

    assert (by_quota.would_refuse, by_quota.cap) == ("ai_usage.output", 50)
    assert by_rate.would_refuse == "rate"
    assert by_concurrency.would_refuse == "concurrent"


# --- periods


async def test_a_period_that_ended_rolls_over_and_is_refreshed_behind_the_call() -> None:
    ended = redis_now_ms() - 40 * DAY_MS
    zion = FakeZion(make_limit("output", 100, used=100, end_ms=ended))
    store(make_limit("output", 100, used=100, end_ms=ended))

    grant = await admit(make_admission(zion), make_ask(cap=60))

    assert grant.held_output == 60
    await eventually(lambda: zion.asked == 1)
    assert state()["ai_usage.output:end"] > redis_now_ms()
    assert state()["ai_usage.output:used"] == 0


async def test_many_metrics_that_end_together_roll_over_in_one_admit() -> None:
    ended = redis_now_ms() - 1
    limits = tuple(
        make_limit(metric, 100, used=100, end_ms=ended, name=name)
        for name in ("a", "b", "c")
        for metric in ("input", "output", "requests")
    )
    store(*limits)

    grant = await admit(make_admission(FakeZion(*limits)), make_ask(10, cap=20))

    assert grant.held_output == 20


async def test_a_period_that_zion_no_longer_repeats_is_asked_for_and_does_not_lock_the_user_out() -> None:
    store(make_limit("output", 100, used=100, end_ms=redis_now_ms() - 1))
    zion = FakeZion(make_limit("output", 100, used=10, reset="NEVER", end_ms=0))
    connections.command("HSET", user_key(), "ai_usage.output:reset", "NEVER")

    grant = await admit(make_admission(zion), make_ask(cap=60))

    assert grant.held_output == 60
    assert (state()["ai_usage.output:end"], state()["ai_usage.output:used"]) == (0, 10)


# --- waiting


async def test_a_call_that_only_holds_keep_out_waits_until_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=10)
    store(make_limit("output", 100))
    admission = make_admission()
    first = await admit(admission, make_ask(cap=100))

    waiting = asyncio.ensure_future(admit(admission, make_ask(cap=100)))
    await eventually(lambda: connections.command("ZCARD", keys.waiting("ext-ada")) == 1)
    await release(first)
    admission.queue.ended("ext-ada")

    assert (await waiting).held_output == 100
    assert connections.command("ZCARD", keys.waiting("ext-ada")) == 0


async def test_waiting_ends_with_a_refusal_and_leaves_no_place_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=0.05)
    store(make_limit("output", 100))
    admission = make_admission()
    await admit(admission, make_ask(cap=100))

    with pytest.raises(QuotaExceeded):
        await admit(admission, make_ask(cap=100))

    await eventually(lambda: connections.command("ZCARD", keys.waiting("ext-ada")) == 0)
    assert held("output") == 100


async def test_calls_that_wait_are_served_in_the_order_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=10)
    store(make_limit("output", 100))
    admission = make_admission()
    held_by = await admit(admission, make_ask(cap=100))
    order: list[int] = []

    async def wait(number: int) -> None:
        grant = await admit(admission, make_ask(cap=100))
        order.append(number)
        await release(grant)
        admission.queue.ended("ext-ada")

    waiting = []
    for number in range(4):
        waiting.append(asyncio.ensure_future(wait(number)))
        await eventually(lambda n=number: connections.command("ZCARD", keys.waiting("ext-ada")) == n + 1)
    await release(held_by)
    admission.queue.ended("ext-ada")
    await asyncio.gather(*waiting)

    assert order == [0, 1, 2, 3]


async def test_a_call_leaves_room_for_those_that_wait_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=10)
    store(make_limit("output", 1600))
    admission = make_admission()
    alone = await admit(admission, make_ask(cap=None, floor=10))
    waiting = [asyncio.ensure_future(admit(admission, make_ask(cap=None, floor=10))) for _ in range(3)]
    await eventually(lambda: connections.command("ZCARD", keys.waiting("ext-ada")) == 3)

    await release(alone)
    admission.queue.ended("ext-ada")
    grants = await asyncio.gather(*waiting)

    assert alone.held_output == 1600
    assert [grant.held_output for grant in grants] == [100, 93, 87]


async def test_a_call_that_waits_asks_with_what_was_learnt_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=10)
    store(make_limit("output", 1000))
    admission = make_admission()
    await admit(admission, make_ask(cap=900))
    draft, needed = make_draft("c2").to_json(), [1024]

    waiting = asyncio.ensure_future(
        admission.admit(make_principal(), make_ask(cap=None), call_id="c2", event=draft, floor=lambda: needed[0])
    )
    await eventually(lambda: connections.command("ZCARD", keys.waiting("ext-ada")) == 1)
    needed[0] = 60

    assert (await waiting).held_output == 60


async def test_a_waiter_whose_process_died_does_not_block_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=10)
    store(make_limit("output", 100))
    now = redis_now_ms()
    connections.command("ZADD", keys.waiting("ext-ada"), now - 5000, "gone")
    connections.command("HSET", keys.waiting_seen("ext-ada"), "gone", now - 1001)

    grant = await admit(make_admission(), make_ask(cap=100))

    assert grant.held_output == 100


async def test_used_quota_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=300)
    store(make_limit("output", 100, used=100))

    with pytest.raises(QuotaExceeded):
        await admit(make_admission(), make_ask(cap=100))


async def test_a_cancelled_wait_holds_nothing_and_gives_its_place_up(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=300)
    store(make_limit("output", 100))
    admission = make_admission()
    await admit(admission, make_ask(cap=100))
    waiting = asyncio.ensure_future(admit(admission, make_ask(cap=100)))
    await eventually(lambda: connections.command("ZCARD", keys.waiting("ext-ada")) == 1)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await eventually(lambda: connections.command("ZCARD", keys.waiting("ext-ada")) == 0)
    assert held("output") == 100


# --- races and failures


RACER = """
import asyncio, sys
from sentinel.lib import redis
from tests.limits.make import admit, make_admission, make_ask

async def race():
    admission = make_admission()
    asks = (admit(admission, make_ask(cap=10)) for _ in range(250))
    found = await asyncio.gather(*asks, return_exceptions=True)
    print(sum(not isinstance(one, BaseException) for one in found))
    await redis.close()

asyncio.run(race())
"""


def test_of_500_calls_from_two_processes_exactly_as_many_are_admitted_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, rate_limit_requests=10_000)
    store(make_limit("output", 100))

    racers = [
        subprocess.Popen([sys.executable, "-c", RACER], cwd=config.BASE_DIR, stdout=subprocess.PIPE) for _ in range(2)
    ]
    admitted = [int(racer.communicate(timeout=30)[0]) for racer in racers]

    assert sum(admitted) == 10
    assert (held("output"), state()["active"]) == (100, 10)


async def test_a_redis_that_cannot_be_reached_refuses_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)

    with pytest.raises(QuotaStoreUnavailable) as refused:
        await admit(make_admission())

    assert refused.value.retry_after_seconds == 1


async def test_a_cancelled_admit_gives_its_hold_back() -> None:
    store(*make_limits())
    admission = make_admission()
    await admit(admission)

    for turns in range(24):
        task = asyncio.ensure_future(admit(admission))
        await loop_turns(turns % 6 + 1)
        if not task.cancel():
            await release(task.result())
        await asyncio.wait([task])
        if not task.cancelled():
            await release(task.result())

    await eventually(lambda: state()["active"] == 1 and held("output") == 100)


async def test_all_calls_of_a_storm_are_decided_and_counted() -> None:
    store(*make_limits(10_000, 100_000, 30))
    admission = make_admission()

    found = await asyncio.gather(*(admit(admission) for _ in range(100)), return_exceptions=True)

    kinds = Counter(type(one).__name__ for one in found)
    assert kinds == {"Grant": 30, "QuotaExceeded": 70}
    assert all(isinstance(one, CallError) for one in found if isinstance(one, BaseException))


async def test_a_name_that_is_not_plain_text_is_a_user_like_any_other() -> None:
    external_id = "ext-Ä {s00} \U0001f600"
    zion = FakeZion()
    zion.limits[external_id] = make_limits()
    principal = Principal("user-1", external_id, "a@example.com", 2**53, "0" * 64)

    grant = await make_admission(zion).admit(principal, make_ask(), call_id="c1", event=b"{}")

    assert grant.external_id == external_id


async def test_the_rate_is_unknown_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)

    assert await make_admission().rate(make_principal()) is None
