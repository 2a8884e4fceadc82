from pathlib import Path
from typing import Any

import pytest
import redis

from limits import keys as ledger_keys
from limits.admission import release
from sentinel.lib import redis as connections
from tests.limits.make import admit, configure, make_admission, make_ask, make_limits, state, store
from usage import keys
from usage.journal import Journal, orphans
from usage.reaper import adopt, may_reap, reap, reaped_event
from usage.recorder import settle_call
from usage.values import Source, UsageEvent


@pytest.fixture(autouse=True)
def quick(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=0, redis_timeout_seconds=5, rate_limit_requests=10_000)


async def open_calls(number: int = 1, *, received: int = 0, lapsed: bool = True) -> list[Any]:
    store(*make_limits(10**9, 10**9, 10**9))
    admission = make_admission()
    grants = [await admit(admission, make_ask(10, cap=100), call_id=f"c{n}") for n in range(number)]
    for grant in grants:
        connections.command("HSET", ledger_keys.call(0, grant.call_id), "received", received)
        if lapsed:
            connections.command("ZADD", ledger_keys.leases(0), 1, grant.call_id)
    return grants


def events() -> list[UsageEvent]:
    found: list[Any] = connections.command("XRANGE", keys.stream(0), "-", "+")
    pairs = [f if isinstance(f, dict) else dict(zip(f[::2], f[1::2], strict=True)) for _, f in found]
    return [UsageEvent.from_json(fields[b"e"]) for fields in pairs]


@pytest.mark.parametrize(("received", "recorded"), [(0, 0), (40, 40), (100, 100), (5000, 100)])
async def test_a_dead_workers_call_is_settled_at_what_is_known_and_at_most_at_its_hold(
    received: int, recorded: int
) -> None:
    (grant,) = await open_calls(received=received)

    assert reap(0) == 1
    assert reap(0) == 0

    (event,) = events()
    assert (event.call_id, event.input, event.output, event.requests) == ("c0", 10, recorded, 1)
    assert (event.source, event.admitted_ms, event.email) == (Source.REAPED, grant.admitted_ms, "ada@example.com")
    assert (state()["active"], state()["ai_usage.output:held"]) == (0, 0)
    await connections.close()


async def test_calls_whose_owner_lives_are_left_alone() -> None:
    await open_calls(3, lapsed=False)

    assert reap(0) == 0

    assert (events(), state()["active"]) == ([], 3)
    await connections.close()


async def test_a_released_calls_lease_is_not_reaped() -> None:
    (grant,) = await open_calls(lapsed=False)
    await release(grant)
    connections.command("ZADD", ledger_keys.leases(0), 1, "c0", 1, "never heard of")

    assert reap(0) == 0

    assert events() == []
    assert connections.command("ZCARD", ledger_keys.leases(0)) == 0
    await connections.close()


async def test_more_calls_than_fit_into_one_look_are_all_reaped() -> None:
    await open_calls(3)
    await connections.close()
    names = [f"x{number}" for number in range(1100)]
    connections.command("ZADD", ledger_keys.leases(0), *(part for name in names for part in (1, name)))

    assert reap(0) == 3

    assert connections.command("ZCARD", ledger_keys.leases(0)) == 0


async def test_one_unreadable_reservation_does_not_keep_the_others_from_being_reaped() -> None:
    await open_calls(3)
    await connections.close()
    connections.command("HSET", ledger_keys.call(0, "c1"), "event", "{}")

    assert reap(0) == 2

    assert sorted(event.call_id for event in events()) == ["c0", "c2"]


def test_an_event_is_made_of_the_reservation_alone() -> None:
    from tests.limits.make import make_draft

    fields = {
        b"event": make_draft("c9").to_json(), b"input": b"7", b"output": b"50", b"requests": b"1", b"admitted": b"99",
    }  # fmt: skip

    event = reaped_event(fields)

    assert (event.input, event.output, event.source, event.admitted_ms) == (7, 0, Source.REAPED, 99)
    assert settle_call(event, reaped=True)[1][-1] == "reaped"


async def test_a_dead_workers_journal_is_settled_before_its_calls_are_reaped(tmp_path: Path) -> None:
    (grant,) = await open_calls()
    exact = settled(grant.call_id)
    journal = Journal(tmp_path, 600)
    journal.open()
    journal.append(exact.to_json())
    await journal.sync()

    assert adopt(tmp_path) == 0  # its owner lives: the segment is locked
    journal.close()
    assert adopt(tmp_path) == 1
    assert reap(0) == 0

    assert events() == [exact]
    assert not any(orphans(tmp_path))
    await connections.close()


def test_nothing_is_reaped_until_owners_had_time_to_reach_a_redis_that_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uptime = connections.command("INFO", "server")["uptime_in_seconds"]
    configure(monkeypatch, lease_seconds=uptime + 1000)
    assert not may_reap()


def settled(call_id: str) -> UsageEvent:
    return UsageEvent(
        call_id, "user-ada", "ext-ada", "ada@example.com", "gpt-4o", "chat.completions", 7, 3, 1, Source.PROVIDER, 5
    )
