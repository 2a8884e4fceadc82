"""All four shapes of the wire, in both modes of reporting, against the simulator in the same form."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from sentinel import config
from sentinel.sandbox.cast import ZION_KEY
from sentinel.zion.client import AsyncZion, Zion
from tests.servers import Served
from tests.usage.make import SHARD, make_event, quota, settle
from usage import keys, outbox
from usage.flush import flush
from usage.inline import Inline
from usage.resolution import Place
from usage.send import Terms, terms_of

FORMS = [(identity, shape) for identity in ("email", "externalId") for shape in ("unified", "per_limit")]
NOTHING = dict.fromkeys(("input", "output", "requests"), 0)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Served]:
    """Zion, for all tests of this module."""
    with Served("sentinel.sandbox.zion:app") as served:
        yield served


@pytest.fixture(params=FORMS, ids=" ".join)
def terms(
    request: pytest.FixtureRequest, simulator: Served, ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Terms:
    """The terms of one form, spoken by both sides; Zion's books are new."""
    identity, shape = request.param
    monkeypatch.setenv("ZION_API_URL", simulator.url)
    monkeypatch.setenv("ZION_API_KEY", ZION_KEY)
    monkeypatch.setenv("ZION_USAGE_IDENTITY", identity)
    monkeypatch.setenv("ZION_USAGE_SHAPE", shape)
    monkeypatch.setenv("ZION_HONOURS_KEYS", "true")
    config.get.cache_clear()
    simulator.tell("/_control/reset")
    simulator.tell("/_control/forms", {"identity": identity, "shape": shape})
    made = terms_of(config.get())
    return replace(made, permits=replace(made.permits, per_second=10_000))


def booked(simulator: Served) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = simulator.ask("/_control/ledger")["users"]
    return found


def models(simulator: Served) -> set[str]:
    return {model for of_user in simulator.ask("/_control/ledger")["models"].values() for model in of_user}


def items(simulator: Served) -> list[dict[str, Any]]:
    return [item for request in simulator.ask("/_control/applied") for item in request["items"]]


def test_batches_are_booked_to_the_unit(simulator: Served, terms: Terms) -> None:
    for event in (
        make_event("ada", input=3, output=0),
        make_event("ada", input=4, output=9),
        make_event("ada", model="o3", input=1, output=1),
        make_event("ben", input=0, output=2, requests=0),
    ):
        settle(event)

    flush(SHARD, Zion(config.get()), terms)

    assert booked(simulator) == {
        "ada": {"input": 8, "output": 10, "requests": 3},
        "ben": {"input": 0, "output": 2, "requests": 0},
    }
    assert outbox.ids(SHARD, Place.BATCHES) == []
    assert quota("ext-ada", "output") == {"used": 10, "pending": 0}
    if terms.form.shape == "unified":
        assert models(simulator) == {"gpt-4o", "o3"}
        assert {item["timestamp"] for item in items(simulator)} == {"2026-05-28T20:26:40.000Z"}


def test_an_item_that_zion_refuses_keeps_no_other_back(simulator: Served, terms: Terms) -> None:
    for user in ("ada", "nobody", "dora"):
        settle(make_event(user))

    flush(SHARD, Zion(config.get()), terms)

    assert {name: used["requests"] for name, used in booked(simulator).items()} == {"ada": 1, "dora": 1}
    (waiting,) = outbox.get(SHARD, outbox.ids(SHARD, Place.BATCHES))
    assert ([item.external_id for item in waiting.items], waiting.rejections) == (["ext-nobody"], 1)


def test_a_lost_answer_is_not_booked_twice(simulator: Served, terms: Terms, ledger: redis.Redis) -> None:
    settle(make_event("ada"))
    simulator.tell("/_control/faults", {"kind": "apply_then_cut", "on": "batch"})

    flush(SHARD, Zion(config.get()), terms)
    ledger.zadd(keys.batches(SHARD), dict.fromkeys(outbox.ids(SHARD, Place.BATCHES), 0))
    flush(SHARD, Zion(config.get()), terms)

    assert booked(simulator)["ada"] == {"input": 10, "output": 5, "requests": 1}
    assert quota("ext-ada", "input") == {"used": 10, "pending": 0}


async def test_inline_reports_one_call_or_leaves_it_to_the_batch(simulator: Served, terms: Terms) -> None:
    zion = AsyncZion(config.get())
    single, triple = make_event("ada", input=7, output=0, requests=0), make_event("ben")
    try:
        for event in (single, triple):
            entry_id = await asyncio.to_thread(settle, event)
            is_confirmed = await Inline(zion, terms, 2.0).report(event, entry_id)
            # One limit an item: a call of three metrics has no form at the endpoint for one item.
            assert is_confirmed == (terms.form.shape == "unified" or event is single)
    finally:
        await zion.aclose()
    await asyncio.to_thread(flush, SHARD, Zion(config.get()), terms)

    assert booked(simulator) == {
        "ada": {**NOTHING, "input": 7},
        "ben": {"input": 10, "output": 5, "requests": 1},
    }
    assert quota("ext-ben", "requests") == {"used": 1, "pending": 0}
