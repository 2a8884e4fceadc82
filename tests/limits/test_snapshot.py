import asyncio

import orjson
import pytest

from limits import keys
from limits.snapshot import Snapshots
from sentinel.exceptions import Forbidden, GovernanceUnavailable
from sentinel.lib import redis as connections
from sentinel.zion.schemas import ZionUnavailable, ZionUnknownUser
from tests.limits.make import FAR_MS, FakeZion, configure, make_limit, make_limits, redis_now_ms, state, store

pytestmark = pytest.mark.usefixtures("online")
USER = "ext-ada"
DAY_MS = 86_400_000


async def test_a_snapshot_is_stored_per_quota_and_kept_for_looking_at() -> None:
    zion = FakeZion(*make_limits(1000, None, 20))

    await Snapshots(zion).refresh(USER)

    found = state()
    assert found["quotas"] == "ai_usage.input ai_usage.requests"
    assert (found["ai_usage.input:limit"], found["ai_usage.input:end"]) == (1000, FAR_MS)
    copy = orjson.loads(connections.command("GET", keys.limits_cache(USER)))
    assert [limit["limit"] for limit in copy["limits"]] == [1000, None, 20]
    assert 0 < connections.command("TTL", keys.limits_cache(USER)) <= 1200


async def test_callers_of_one_moment_share_one_question() -> None:
    zion = FakeZion(*make_limits())
    zion.slow = asyncio.Event()
    snapshots = Snapshots(zion)
    waiting = [asyncio.ensure_future(snapshots.refresh(USER)) for _ in range(10)]
    asyncio.get_running_loop().call_later(0.01, zion.slow.set)

    waiting[0].cancel()
    await asyncio.gather(*waiting[1:])

    assert zion.asked == 1


async def test_a_delivery_confirmed_meanwhile_makes_it_ask_again() -> None:
    zion = FakeZion(*make_limits())
    deliveries = iter([1, 2])

    def confirm() -> None:
        if next(deliveries, None):
            connections.command("HINCRBY", keys.user(USER), "deliveries", 1)

    zion.meanwhile = confirm
    await Snapshots(zion).refresh(USER)

    assert zion.asked == 3
    assert state()["deliveries"] == 2


async def test_a_snapshot_that_is_always_overtaken_is_given_up() -> None:
    zion = FakeZion(*make_limits())
    zion.meanwhile = lambda: connections.command("HINCRBY", keys.user(USER), "deliveries", 1)

    with pytest.raises(GovernanceUnavailable):
        await Snapshots(zion).refresh(USER)

    assert "quotas" not in state()


@pytest.mark.parametrize(
    ("failure", "expected"), [(ZionUnknownUser("who"), Forbidden), (ZionUnavailable("down"), GovernanceUnavailable)]
)
async def test_what_zion_does_not_say_is_a_refusal_or_an_outage(failure: Exception, expected: type[Exception]) -> None:
    zion = FakeZion()
    zion.failure = failure

    with pytest.raises(expected):
        await Snapshots(zion).refresh(USER)


async def test_a_cache_that_is_away_does_not_void_a_stored_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, cache_redis_url="redis://127.0.0.1:1", redis_timeout_seconds=1)

    await Snapshots(FakeZion(*make_limits())).refresh(USER)

    assert state()["ai_usage.input:limit"] == 1000


# --- store.lua


def test_a_refused_snapshot_changes_nothing() -> None:
    store(*make_limits())
    connections.command("HSET", keys.user(USER), "deliveries", 3)
    before = state()

    assert store(*make_limits(1, 1, 1), deliveries=2) == 0

    assert state() == before


def test_within_a_period_zions_figure_replaces_used_and_leaves_pending_and_held() -> None:
    store(make_limit("input", 1000, used=10))
    connections.command("HSET", keys.user(USER), "ai_usage.input:pending", 7, "ai_usage.input:held", 5)

    store(make_limit("input", 900, used=17))

    figures = [state()[f"ai_usage.input:{part}"] for part in ("limit", "used", "pending", "held")]
    assert figures == [900, 17, 7, 5]


def test_a_new_period_starts_with_zions_figure_alone() -> None:
    store(make_limit("input", 1000, used=10))
    connections.command("HSET", keys.user(USER), "ai_usage.input:pending", 7, "ai_usage.input:held", 5)
    connections.command("HSET", keys.user(USER), "ai_usage.input:end", redis_now_ms() - 1)

    store(make_limit("input", 1000, used=2, end_ms=FAR_MS + 1))

    figures = [state()[f"ai_usage.input:{part}"] for part in ("used", "pending", "held", "end")]
    assert figures == [2, 0, 0, FAR_MS + 1]


def test_a_zion_that_has_not_rolled_over_yet_does_not_bring_the_old_period_back() -> None:
    ended = redis_now_ms() - 1000
    store(make_limit("input", 1000, used=0))

    store(make_limit("input", 1000, used=999, end_ms=ended))

    assert (state()["ai_usage.input:used"], state()["ai_usage.input:end"]) == (0, FAR_MS)


@pytest.mark.parametrize("end_ms", [DAY_MS, FAR_MS + 1, 0])
def test_an_end_that_zion_moves_while_the_period_runs_forgets_nothing_that_is_held(end_ms: int) -> None:
    store(make_limit("input", 1000, used=500))
    connections.command("HSET", keys.user(USER), "ai_usage.input:pending", 7, "ai_usage.input:held", 5)
    moved = redis_now_ms() + DAY_MS if end_ms == DAY_MS else end_ms

    store(make_limit("input", 900, used=3, reset="DAILY", end_ms=moved))

    figures = [state()[f"ai_usage.input:{part}"] for part in ("limit", "used", "pending", "held", "end")]
    assert figures == [900, 3, 7, 5, FAR_MS]


def test_a_limit_that_zion_drops_no_longer_counts() -> None:
    store(*make_limits())

    store(make_limit("input", 1000))

    assert state()["quotas"] == "ai_usage.input"
    assert store() == 1
    assert "quotas" not in state()


def test_a_refresh_ends_the_claim_of_whoever_was_refreshing() -> None:
    store(*make_limits())
    connections.command("HSET", keys.user(USER), "refreshing", 2**52)

    store(*make_limits())

    assert "refreshing" not in state()
