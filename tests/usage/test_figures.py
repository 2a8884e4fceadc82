"""Reading Zion's figures back, on a real Redis: what is sent again, what never is, and who has to wait meanwhile."""

import asyncio
from typing import Any

import pytest
import redis

from sentinel import config
from sentinel.zion.schemas import Delivery, ZionUnavailable
from tests.usage.make import (
    SHARD,
    UNCLEAR,
    AsyncFakeZion,
    FakeZion,
    Killed,
    Step,
    make_due,
    make_event,
    make_terms,
    quota,
    settle,
    snapshot,
    user_key,
)
from usage import keys, outbox, replay
from usage.backlog import look
from usage.batch import State
from usage.flush import flush, seal_waiting
from usage.inline import Inline
from usage.resolution import Place
from usage.send import terms_of

LOST_AFTER = Step(applies=True, answer=UNCLEAR)
LOST_BEFORE = Step(applies=False, answer=UNCLEAR)
QUIET_MS = 60_000


def sealed_for(user: str, **changes: Any) -> None:
    settle(make_event(user, **changes))
    seal_waiting(SHARD, make_terms(honours_keys=False))


def pass_over(ledger: redis.Redis, zion: FakeZion, quiet_ms: int = 0) -> None:
    """The breaker is closed again, everything is due, and a pass runs."""
    ledger.delete(keys.breaker())
    make_due()
    flush(SHARD, zion, make_terms(honours_keys=False, lanes=1, quiet_ms=quiet_ms))


@pytest.mark.parametrize(("step", "times"), [(LOST_AFTER, 1), (LOST_BEFORE, 2)])
def test_zions_figures_say_whether_to_send_again(ledger: redis.Redis, step: Step, times: int) -> None:
    zion = FakeZion(step, honours_keys=False)
    snapshot(zion, "ada")
    settle(make_event("ada"))

    pass_over(ledger, zion)
    pass_over(ledger, zion)

    assert (len(zion.sent), zion.total("requests")) == (times, 1)
    assert len({(key, body) for _, key, body in zion.sent}) == 1
    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}
    assert len(outbox.ids(SHARD, Place.DELIVERED)) == 1


@pytest.mark.parametrize("applies", [True, False])
def test_a_sender_that_died_is_read_back_too(ledger: redis.Redis, applies: bool) -> None:
    zion = FakeZion(Step(applies=applies, kills=True), honours_keys=False)
    snapshot(zion, "ada")
    settle(make_event("ada"))

    with pytest.raises(Killed):
        pass_over(ledger, zion)
    pass_over(ledger, zion)
    pass_over(ledger, zion)

    assert zion.total("requests") == 1
    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}


def test_the_figure_of_each_confirmed_report_is_what_the_next_is_compared_with(ledger: redis.Redis) -> None:
    zion = FakeZion(honours_keys=False)
    snapshot(zion, "ada")
    for step in (Step(), LOST_AFTER, Step(), LOST_BEFORE, LOST_AFTER):
        zion.steps.append(step)
        settle(make_event("ada"))
        pass_over(ledger, zion)
        pass_over(ledger, zion)

    assert zion.total("requests") == 5
    assert look(SHARD).held == 0
    assert quota("ext-ada", "requests") == {"used": 5, "pending": 0}


def test_somebody_else_who_reports_there_too_makes_it_an_operators_decision(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_BEFORE, honours_keys=False)
    snapshot(zion, "ada")
    settle(make_event("ada"))
    zion.booked["ada@example.com", "input"] += 3

    pass_over(ledger, zion)

    (held,) = outbox.get(SHARD, outbox.ids(SHARD, Place.HELD))
    assert [(line["before"], line["after"], line["expected"]) for line in held.doubt.evidence] == [
        (0, 3, 10),
        (0, 0, 5),
        (0, 0, 1),
    ]
    assert (held.state, len(zion.sent)) == (State.HELD, 1)


def test_a_snapshot_of_the_quiet_time_is_no_figure_to_compare_with(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_AFTER, honours_keys=False)
    snapshot(zion, "ada")
    settle(make_event("ada"))

    pass_over(ledger, zion, quiet_ms=QUIET_MS)
    snapshot(zion, "ada")
    pass_over(ledger, zion)

    assert (len(zion.sent), zion.total("requests"), look(SHARD).held) == (1, 1, 0)


def test_nothing_else_of_a_user_in_doubt_is_sent_and_others_are_not_kept_waiting(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_BEFORE, honours_keys=False)
    snapshot(zion, "ada", "ben")
    sealed_for("ada", model="a")
    pass_over(ledger, zion, quiet_ms=QUIET_MS)
    sealed_for("ada", model="b")
    sealed_for("ben")

    flush(SHARD, zion, make_terms(honours_keys=False, quiet_ms=QUIET_MS))

    assert len(zion.sent) == 2
    assert (zion.booked["ada@example.com", "requests"], zion.booked["ben@example.com", "requests"]) == (0, 1)
    waiting = outbox.get(SHARD, outbox.ids(SHARD, Place.BATCHES))
    assert {batch.state for batch in waiting} == {State.DOUBTED, State.SEALED}
    wait, _ = outbox.due(SHARD, 10)
    assert wait is not None
    assert wait > QUIET_MS / 2000, "the other one waits as long as the first"

    pass_over(ledger, zion)
    pass_over(ledger, zion)
    assert zion.booked["ada@example.com", "requests"] == 2


def test_two_batches_of_one_user_are_never_under_way_together(ledger: redis.Redis) -> None:
    sealed_for("ada", model="a")
    sealed_for("ada", model="b")
    first, second = outbox.ids(SHARD, Place.BATCHES)

    claimed = outbox.claim(SHARD, first, 15, sole=True)

    assert claimed is not None
    assert outbox.claim(SHARD, second, 15, sole=True) is None
    make_due()
    assert outbox.claim(SHARD, second, 15) is not None, "where keys are honoured nobody waits"


def test_a_batch_that_is_no_longer_to_be_sent_keeps_nobody_waiting(ledger: redis.Redis) -> None:
    ledger.hset(user_key("ext-ada"), "sending", "a batch that has gone")
    sealed_for("ada")

    (batch_id,) = outbox.ids(SHARD, Place.BATCHES)

    assert outbox.claim(SHARD, batch_id, 15, sole=True) is not None


async def test_inline_leaves_a_user_in_doubt_to_the_worker(ledger: redis.Redis) -> None:
    zion, terms = AsyncFakeZion(LOST_BEFORE), make_terms(honours_keys=False, quiet_ms=QUIET_MS)
    inline = Inline(zion, terms, 2.0)
    first, second = make_event("ada"), make_event("ada")
    entries = [await asyncio.to_thread(settle, event) for event in (first, second)]

    assert not await inline.report(first, entries[0])
    assert not await inline.report(second, entries[1])

    assert len(zion.sent) == 1
    assert look(SHARD).events == 1, "the second still waits unsealed"


def test_held_usage_does_not_shrink_the_quota_twice(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_AFTER, honours_keys=False)
    settle(make_event("ada"))
    pass_over(ledger, zion)
    assert look(SHARD).held == 1

    snapshot(zion, "ada")

    assert sum(quota("ext-ada", "input").values()) == zion.total("input") == 10


def test_what_an_operator_books_is_counted_once(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_AFTER, honours_keys=False)
    settle(make_event("ada"))
    pass_over(ledger, zion)
    snapshot(zion, "ada")

    (held,) = outbox.get(SHARD, outbox.ids(SHARD, Place.HELD))
    assert replay.confirm(SHARD, held, make_terms().form)
    snapshot(zion, "ada")

    assert quota("ext-ada", "input") == {"used": 10, "pending": 0}


def test_figures_that_zion_does_not_give_are_asked_for_again(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_AFTER, honours_keys=False)
    snapshot(zion, "ada")
    settle(make_event("ada"))
    zion.failures.extend([ZionUnavailable("status 500"), ZionUnavailable("status 429", retry_after=0.01)])

    for _ in range(3):
        ledger.delete(keys.permits())
        pass_over(ledger, zion)

    assert (len(zion.failures), len(zion.sent), look(SHARD).delivered) == (0, 1, 1)


def test_a_user_whom_zion_no_longer_knows_is_held(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_AFTER, honours_keys=False)
    snapshot(zion, "ada")
    settle(make_event("ada"))
    zion.unknown.add("ada@example.com")

    pass_over(ledger, zion)

    assert look(SHARD).held == 1


def test_what_was_in_doubt_while_keys_were_honoured_is_held(ledger: redis.Redis) -> None:
    zion = FakeZion(LOST_AFTER, honours_keys=False)
    snapshot(zion, "ada")
    settle(make_event("ada"))
    flush(SHARD, zion, make_terms(honours_keys=True))

    pass_over(ledger, zion)

    assert (look(SHARD).held, len(zion.sent)) == (1, 1)


def test_a_report_that_comes_late_after_all_settles_the_doubt(ledger: redis.Redis) -> None:
    class Late(FakeZion):
        def report(self, *args: object) -> Delivery:
            truth = super().report(*args)  # type: ignore[arg-type]
            make_due()
            flush(SHARD, self, make_terms(honours_keys=False, quiet_ms=QUIET_MS))
            return truth

    zion = Late()
    snapshot(zion, "ada")
    settle(make_event("ada"))

    flush(SHARD, zion, make_terms(honours_keys=False, quiet_ms=QUIET_MS, lanes=1))

    assert (len(zion.sent), look(SHARD).delivered) == (1, 1)
    assert not ledger.hexists(user_key("ext-ada"), "sending")


def test_the_quiet_time_is_a_setting(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZION_QUIET_SECONDS", "75")
    config.get.cache_clear()

    assert terms_of(config.get()).policy.quiet_ms == 75_000
