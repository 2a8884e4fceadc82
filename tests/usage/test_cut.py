"""A flush that is cut at every single step: each command to Redis and each request to Zion, carried out or not.

Afterwards another worker goes on. No event is lost, none is booked twice or sent under two keys, each has one row.
"""

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import pytest
import redis

from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from sentinel.lib.redis import ledger as connect
from sentinel.zion.schemas import Delivery, Endpoint
from tests.usage.cutting import Cut, cutting
from tests.usage.make import SHARD, FakeZion, Killed, make_due, make_event, make_terms, quota, settle, snapshot
from usage import history, keys, outbox
from usage.flush import flush
from usage.models import BatchRecord, CallRecord, DeadLetter
from usage.resolution import Place
from usage.send import Terms

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(120)]
_NEVER = 1_000_000


class Mortal(FakeZion):
    """Each request is a step of its sender, who may die before it, or before the answer."""

    cut = Cut(_NEVER, is_done=True)

    def report(self, endpoint: Endpoint, body: bytes, key: str, identities: Sequence[str]) -> Delivery:
        is_carried_out = self.cut.step()
        if not is_carried_out:
            raise Killed
        delivery = super().report(endpoint, body, key, identities)
        if self.cut.is_dead:
            raise Killed
        return delivery


def go_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    connect().close()
    monkeypatch.setenv("REDIS_URL", url)
    config.get.cache_clear()
    connect.cache_clear()


def begin(ledger: redis.Redis, zion: FakeZion) -> list[str]:
    """Two models of Ada, so that there are two batches; Ben; zeros; Eli, whom Zion refuses; junk. The good calls."""
    for key in list(ledger.scan_iter(f"{config.get().redis_key_prefix}*")):
        ledger.delete(key)
    for model in (BatchRecord, CallRecord, DeadLetter):
        model.objects.all().delete()
    snapshot(zion, "ada", "ben")
    events = [make_event("ada", model="a"), make_event("ben", model="b"), make_event("ada", model="b")]
    zeros = make_event("ben", input=0, output=0, requests=0)
    for event in (*events, zeros, make_event("eli")):
        settle(event)
    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"junk"})
    return [event.call_id for event in (*events, zeros)]


def work(zion: FakeZion, terms: Terms) -> None:
    """What a worker does in one tick."""
    flush(SHARD, zion, terms)
    history.write(SHARD)
    history.note_set_aside()


def go_on(ledger: redis.Redis, zion: FakeZion, terms: Terms) -> None:
    """Another worker, once leases are over."""
    for _ in range(4):
        ledger.delete(keys.breaker())
        make_due()
        work(zion, terms)


def run(
    monkeypatch: pytest.MonkeyPatch, ledger: redis.Redis, cut: Cut, *, honours_keys: bool
) -> tuple[Mortal, list[str]]:
    there = config.get().redis_url
    zion = Mortal(unknown=["eli@example.com"], honours_keys=honours_keys)
    calls = begin(ledger, zion)
    terms = make_terms(honours_keys=honours_keys, lanes=1)
    terms = replace(terms, write_again_after=(), policy=replace(terms.policy, max_tries=1))
    path = ledger.connection_pool.connection_kwargs["path"]
    with cutting(path, cut) as url:
        go_to(monkeypatch, url)
        zion.cut = cut
        with suppress(Killed, RedisUnavailable):
            work(zion, terms)
        zion.cut = Cut(_NEVER, is_done=True)
        go_to(monkeypatch, there)
    go_on(ledger, zion, terms)
    return zion, calls


def _in(place: Place) -> list[str]:
    batches: Any = outbox.get(SHARD, outbox.ids(SHARD, place))
    return [member.call_id for batch in batches for member in batch.members]


def check(ledger: redis.Redis, zion: Mortal, calls: list[str]) -> None:
    """Everything is where it belongs, once."""
    rows = list(CallRecord.objects.values_list("call_id", flat=True))
    assert sorted(rows) == sorted(calls)
    assert ledger.xlen(keys.stream(SHARD)) == 0
    assert [_in(place) for place in (Place.BATCHES, Place.DELIVERED)] == [[], []]
    # Nobody can say whether Zion took what it was told about somebody whom it has no figures of: that may be held.
    aside = [_in(place) for place in (Place.DEAD, Place.HELD)]
    assert ("junk" in aside[0], len(aside[0] + aside[1])) == (True, 2)
    assert not set(calls).intersection(aside[0] + aside[1])
    assert not (zion.honours_keys and aside[1])
    assert DeadLetter.objects.filter(resolved_at=None).count() == 2
    booked = {user: zion.booked[f"{user}@example.com", "requests"] for user in ("ada", "ben", "eli")}
    assert booked == {"ada": 2, "ben": 1, "eli": 0}
    assert all(len(bodies) == 1 for bodies in zion.bodies.values())
    assert [quota(f"ext-{user}", "requests") for user in ("ada", "ben")] == [
        {"used": 2, "pending": 0},
        {"used": 1, "pending": 0},
    ]


@pytest.mark.parametrize("is_done", [True, False], ids=["carried out", "not carried out"])
@pytest.mark.parametrize("honours_keys", [True, False], ids=["keys honoured", "keys ignored"])
def test_a_flush_that_is_cut_at_any_step_loses_nothing_and_counts_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, ledger: redis.Redis, honours_keys: bool, is_done: bool
) -> None:
    cut = Cut(0, is_done=is_done)
    with closing(ledger):  # the fixture closes the client of the moment
        while True:
            zion, calls = run(monkeypatch, ledger, cut, honours_keys=honours_keys)
            check(ledger, zion, calls)
            if not cut.is_dead:
                break  # the pass came to its end before: it has been cut everywhere
            cut = Cut(cut.at + 1, is_done=is_done)

    assert cut.at > 30
