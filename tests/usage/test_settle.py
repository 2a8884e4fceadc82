"""settle.lua and extend.lua, as the recorder and the reaper call them."""

from typing import Any

import orjson
import pytest
import redis

from limits import keys as ledger_keys
from limits.values import Ask
from sentinel.lib import redis as connections
from tests.limits.make import METRICS, admit, configure, make_admission, make_ask, make_limits, state, store
from tests.usage.make import make_event
from usage import keys
from usage.recorder import SETTLE, settle_call
from usage.values import NO_DETAILS, Details, UsageEvent


@pytest.fixture(autouse=True)
def quick(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=0, redis_timeout_seconds=5)


async def open_call(call_id: str = "c1", ask: Ask | None = None) -> None:
    await admit(make_admission(), ask or make_ask(10, cap=100), call_id=call_id)
    await connections.close()


def settle(event: UsageEvent, *, reaped: bool = False) -> str:
    return str(SETTLE.run(*settle_call(event, reaped=reaped))[0].decode())


def figures(part: str) -> list[int]:
    return [int(state().get(f"ai_usage.{metric}:{part}", 0)) for metric in METRICS]


def entries() -> list[dict[bytes, bytes]]:
    found: list[Any] = connections.command("XRANGE", keys.stream(0), "-", "+")
    return [
        fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in found
    ]


async def test_the_hold_goes_and_the_actual_comes_in_one_step() -> None:
    store(*make_limits())
    await open_call()

    assert settle(make_event(call_id="c1", input=8, output=70)) == "settled"

    assert (figures("held"), figures("pending"), state()["active"]) == ([0, 0, 0], [8, 70, 1], 0)
    (entry,) = entries()
    end = state()["ai_usage.input:end"]
    assert (entry[b"c"], entry[b"r"]) == (b"c1", b"0")
    assert entry[b"q"].decode().split() == [
        f"ai_usage.{metric}|{end}|{amount}" for metric, amount in zip(METRICS, (8, 70, 1), strict=True)
    ]
    assert connections.command("ZCARD", ledger_keys.leases(0)) == 0


async def test_settling_again_changes_nothing_whatever_the_figures() -> None:
    store(*make_limits())
    await open_call()
    settle(make_event(call_id="c1"))
    before = state()

    assert settle(make_event(call_id="c1", output=99)) == "duplicate"

    assert state() == before
    assert len(entries()) == 1
    assert 0 < connections.command("PTTL", ledger_keys.call(0, "c1")) <= 3_600_000


async def test_more_than_was_held_is_counted_in_full() -> None:
    store(*make_limits())
    await open_call()

    settle(make_event(call_id="c1", input=20, output=5000))

    assert figures("pending") == [20, 5000, 1]


async def test_a_call_that_used_nothing_still_leaves_its_event_and_no_charge() -> None:
    store(*make_limits())
    await open_call()

    settle(make_event(call_id="c1", input=0, output=0, requests=0))

    assert (figures("pending"), figures("held")) == ([0, 0, 0], [0, 0, 0])
    assert entries()[0][b"q"] == b""


async def test_a_call_of_a_period_that_ended_charges_that_period_and_not_the_present_one() -> None:
    store(*make_limits())
    end = state()["ai_usage.output:end"]
    await open_call()
    user = ledger_keys.user("ext-ada")
    connections.command("HSET", user, "ai_usage.output:end", end + 1, "ai_usage.output:held", 0)

    settle(make_event(call_id="c1", output=70))

    assert (figures("pending")[1], figures("held")[1]) == (0, 0)
    assert f"ai_usage.output|{end}|70" in entries()[0][b"q"].decode()


async def test_a_call_that_this_redis_does_not_know_is_counted_on_the_refusing_side_and_marked() -> None:
    store(*make_limits())

    assert settle(make_event(call_id="lost", output=70)) == "settled"
    assert settle(make_event(call_id="lost", output=70)) == "duplicate"

    assert (figures("pending"), figures("held"), state().get("active", 0)) == ([10, 70, 1], [0, 0, 0], 0)
    (entry,) = entries()
    assert entry[b"r"] == b"1"
    assert len(entry[b"q"].split()) == 3


def test_a_call_of_an_unknown_user_is_recorded_without_charges() -> None:
    settle(make_event("ben", call_id="lost"))

    assert (entries()[0][b"q"], entries()[0][b"r"]) == (b"", b"1")


async def test_a_released_call_cannot_be_settled() -> None:
    store(*make_limits())
    connections.command("HSET", ledger_keys.call(0, "c1"), "state", "released")

    assert settle(make_event(call_id="c1")) == "duplicate"

    assert entries() == []


async def test_a_call_whose_lease_runs_is_not_reaped() -> None:
    store(*make_limits())
    await open_call()

    assert settle(make_event(call_id="c1"), reaped=True) == "alive"

    assert (entries(), figures("held")) == ([], [10, 100, 1])


async def test_a_settled_call_is_not_reaped_and_its_stale_lease_goes() -> None:
    store(*make_limits())
    await open_call()
    settle(make_event(call_id="c1"))
    connections.command("ZADD", ledger_keys.leases(0), 1, "c1")

    assert settle(make_event(call_id="c1"), reaped=True) == "duplicate"

    assert connections.command("ZCARD", ledger_keys.leases(0)) == 0
    assert len(entries()) == 1


async def reaped_call(**recorded: Any) -> None:
    store(*make_limits())
    await open_call()
    connections.command("ZADD", ledger_keys.leases(0), 1, "c1")
    assert settle(make_event(call_id="c1", **recorded), reaped=True) == "settled"


async def test_the_owner_that_wakes_after_the_reaper_adds_only_what_is_missing() -> None:
    await reaped_call(input=10, output=40)

    assert settle(make_event(call_id="c1", input=6, output=90)) == "corrected"
    assert settle(make_event(call_id="c1", input=6, output=90)) == "duplicate"

    assert figures("pending") == [10, 90, 1]
    correction = orjson.loads(entries()[1][b"e"])
    assert correction["call_id"] == "c1#1"
    assert (correction["input"], correction["output"], correction["requests"]) == (0, 50, 0)
    assert len(entries()) == 2


async def test_the_reapers_figures_are_never_lowered() -> None:
    await reaped_call(input=10, output=40)

    assert settle(make_event(call_id="c1", input=1, output=2, requests=0)) == "corrected"
    assert settle(make_event(call_id="c1", output=900)) == "duplicate"

    assert figures("pending") == [10, 40, 1]
    assert len(entries()) == 1


async def test_a_correction_whose_texts_look_like_figures_changes_only_the_figures() -> None:
    await reaped_call(input=1, output=1)
    model = '"input":1,"output":2,"requests":3 %1 "call_id":"x"'

    settle(make_event(call_id="c1", model=model, input=5, output=7))

    found = UsageEvent.from_json(entries()[1][b"e"])
    assert (found.call_id, found.model, found.input, found.output) == ("c1#1", model, 4, 6)


async def test_a_correction_does_not_repeat_details() -> None:
    await reaped_call(input=10, output=40)
    model = ',"details":{"cached_input":1}'

    settle(make_event(call_id="c1", model=model, input=12, output=90, details=Details(cached_input=9, audio_output=3)))

    found = UsageEvent.from_json(entries()[1][b"e"])
    assert (found.call_id, found.model, found.input, found.output) == ("c1#1", model, 2, 50)
    assert found.details == NO_DETAILS


async def test_details_reach_the_stream_with_their_call_and_charge_nothing() -> None:
    store(*make_limits())
    await open_call()
    details = Details(cached_input=4, reasoning_output=2)

    settle(make_event(call_id="c1", input=6, output=4, details=details))

    assert figures("pending") == [6, 4, 1]
    assert UsageEvent.from_json(entries()[0][b"e"]).details == details


async def test_a_full_redis_still_takes_settles_but_admits_nobody() -> None:
    from sentinel.exceptions import QuotaStoreUnavailable
    from tests.redis_server import private_server

    with private_server() as server, pytest.MonkeyPatch.context() as patch:
        configure(patch, redis_url=server.url)
        connections.ledger.cache_clear()
        store(*make_limits())
        await open_call()
        connections.command("CONFIG", "SET", "maxmemory", "100kb")

        with pytest.raises(QuotaStoreUnavailable):
            await open_call("c2")
        assert settle(make_event(call_id="c1")) == "settled"

        await connections.close()
        connections.ledger().close()
        connections.ledger.cache_clear()


async def test_figures_near_two_to_the_53_are_charged_exactly() -> None:
    store(*make_limits())
    await open_call()

    settle(make_event(call_id="c1", output=2**53 - 1))

    assert figures("pending")[1] == 2**53 - 1
