"""Reports before the answer ends: confirmed inside the budget, or left to a worker as the same report."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis

from sentinel.zion.schemas import Delivery, Endpoint
from tests.usage.make import (
    REFUSED,
    REJECTED,
    SHARD,
    UNCLEAR,
    AsyncFakeZion,
    FakeZion,
    Step,
    make_due,
    make_event,
    make_terms,
    quota,
    settle,
)
from usage import keys, outbox
from usage.flush import flush, seal_waiting
from usage.inline import Inline
from usage.resolution import Place
from usage.send import Terms
from usage.values import UsageEvent


def inline(zion: AsyncFakeZion, terms: Terms | None = None) -> Inline:
    return Inline(zion, terms or make_terms(), 2.0)


async def settled(event: UsageEvent, period_ms: int = 0) -> str:
    return await asyncio.to_thread(settle, event, period_ms)


async def test_a_call_is_confirmed_before_its_answer_ends(ledger: redis.Redis) -> None:
    event, zion = make_event(), AsyncFakeZion()
    entry_id = await settled(event)

    assert await inline(zion).report(event, entry_id)

    assert [endpoint for endpoint, _, _ in zion.sent] == ["increment"]
    assert zion.sent[0][2].startswith(b'{"email":"ada@example.com"')
    assert quota("ext-ada", "input") == {"used": 10, "pending": 0}
    assert len(outbox.ids(SHARD, Place.DELIVERED)) == 1
    assert ledger.xlen(keys.stream(SHARD)) == 0


@pytest.mark.parametrize("step", [Step(applies=False, answer=REFUSED), Step(applies=True, answer=UNCLEAR)])
async def test_what_was_not_confirmed_stays_for_the_worker_as_the_same_report(ledger: redis.Redis, step: Step) -> None:
    event, zion = make_event(), AsyncFakeZion(step)
    entry_id = await settled(event)

    assert not await inline(zion).report(event, entry_id)
    worker = FakeZion()
    make_due()
    flush(SHARD, worker, make_terms())

    assert worker.sent == zion.sent


async def test_a_worker_that_sealed_it_first_is_the_only_sender(ledger: redis.Redis) -> None:
    event, zion = make_event(), AsyncFakeZion()
    entry_id = await settled(event)
    seal_waiting(SHARD, make_terms())

    assert not await inline(zion).report(event, entry_id)

    assert zion.sent == []


async def test_worker_and_requests_race_and_every_call_is_sent_once(ledger: redis.Redis) -> None:
    zion, events = AsyncFakeZion(), [make_event(("ada", "ben")[number % 2]) for number in range(60)]
    entry_ids = [await settled(event) for event in events]
    worker = FakeZion()

    *_, summary = await asyncio.gather(
        *(inline(zion).report(event, entry_id) for event, entry_id in zip(events, entry_ids, strict=True)),
        asyncio.to_thread(flush, SHARD, worker, make_terms()),
    )

    assert zion.total("requests") + worker.total("requests") == 60
    assert sum(quota(f"ext-{user}", "requests")["used"] for user in ("ada", "ben")) == 60
    assert summary is not None


async def test_an_open_breaker_or_no_permit_leaves_the_event_unsealed(ledger: redis.Redis) -> None:
    event, zion, terms = make_event(), AsyncFakeZion(), make_terms()
    entry_id = await settled(event)

    used_up = replace(terms, permits=replace(terms.permits, key=terms.permits.key + ":none", per_second=0))
    ledger.zadd(used_up.permits.key, {"other": 2e12})
    assert not await inline(zion, used_up).report(event, entry_id)
    terms.breaker.report(terms.breaker.admit().token, "trip")
    assert not await inline(zion, terms).report(event, entry_id)

    assert (zion.sent, ledger.xlen(keys.stream(SHARD))) == ([], 1)


async def test_a_rejection_is_isolated_for_the_worker(ledger: redis.Redis) -> None:
    event, zion = make_event(), AsyncFakeZion(Step(applies=False, answer=REJECTED))
    entry_id = await settled(event)

    assert not await inline(zion).report(event, entry_id)

    (waiting,) = outbox.get(SHARD, outbox.ids(SHARD, Place.BATCHES))
    assert (waiting.endpoint, waiting.rejections) == ("batch", 1)


async def test_zeros_and_vanished_entries_are_not_sent(ledger: redis.Redis) -> None:
    zeros, zion = make_event(input=0, output=0, requests=0), AsyncFakeZion()
    entry_id = await settled(zeros)

    assert not await inline(zion).report(zeros, entry_id)
    assert not await inline(zion).report(make_event(), "1-1")

    assert zion.sent == []


async def test_zion_gets_what_is_left_of_the_budget(ledger: redis.Redis) -> None:
    given: list[float | None] = []

    class Timed(AsyncFakeZion):
        async def report(  # type: ignore[override]
            self,
            endpoint: Endpoint,
            body: bytes,
            key: str,
            identities: Sequence[str],
            timeout_seconds: float | None = None,
        ) -> Delivery:
            given.append(timeout_seconds)
            return await super().report(endpoint, body, key, identities)

    event = make_event()
    entry_id = await settled(event)

    await inline(Timed()).report(event, entry_id)

    assert given[0] is not None
    assert 1.0 < given[0] <= 2.0


async def test_a_redis_that_is_gone_never_raises(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentinel import config

    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    config.get.cache_clear()

    assert not await inline(AsyncFakeZion()).report(make_event(), "1-1")


async def test_an_outcome_that_redis_did_not_take_is_left_in_doubt(
    ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentinel import config
    from sentinel.lib.redis import close

    class Outage(AsyncFakeZion):
        async def report(self, *args: object, **options: object) -> Delivery:  # type: ignore[override]
            delivery = await super().report(*args, **options)  # type: ignore[arg-type]
            await close()
            monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
            config.get.cache_clear()
            return delivery

    event, zion = make_event(), Outage()
    entry_id = await settled(event)

    assert not await inline(zion).report(event, entry_id)

    (batch_id,) = outbox.ids(SHARD, Place.BATCHES)
    assert outbox.get(SHARD, [batch_id])[0].state == "sending"


async def test_a_pause_that_zion_asks_for_holds_for_the_workers_too(ledger: redis.Redis) -> None:
    busy = replace(REFUSED, status=429, retry_after_seconds=30.0, trips_breaker=False)
    event, terms = make_event(), make_terms()
    entry_id = await settled(event)

    await inline(AsyncFakeZion(Step(applies=False, answer=busy)), terms).report(event, entry_id)

    assert not terms.permits.take().granted


async def test_an_outcome_that_comes_late_is_not_counted_again(ledger: redis.Redis) -> None:
    class Slow(AsyncFakeZion):
        async def report(self, *args: object, **options: object) -> Delivery:  # type: ignore[override]
            delivery = await super().report(*args, **options)  # type: ignore[arg-type]
            make_due()
            await asyncio.to_thread(flush, SHARD, FakeZion(), make_terms())
            return delivery

    event, zion = make_event(), Slow()
    entry_id = await settled(event)

    await inline(zion).report(event, entry_id)

    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}
