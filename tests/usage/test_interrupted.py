"""Whatever is cut at whatever step: no event is lost, none is sent under two keys, none is counted twice.

Three worlds: Zion honours keys; it ignores them, and its figures are known, so that they decide; it ignores them, and
nothing is known, so that an operator must.
"""

from contextlib import suppress
from typing import Any

import orjson
import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sentinel import config
from sentinel.zion.schemas import ZionUnavailable
from tests.usage.make import (
    REFUSED,
    REJECTED,
    SHARD,
    UNCLEAR,
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
from usage.batch import State
from usage.flush import flush, seal_waiting
from usage.resolution import Place, reason_to_hold
from usage.send import Terms

STEPS = {
    "killed before": Step(applies=False, kills=True),
    "killed after": Step(applies=True, kills=True),
    "lost after": Step(applies=True, answer=UNCLEAR),
    "lost before": Step(applies=False, answer=UNCLEAR),
    "refused": Step(applies=False, answer=REFUSED),
    "refused for good": Step(applies=False, answer=REJECTED),
    "fine": Step(),
}
ACTIONS = st.sampled_from(
    ["settle", "seal", "claim", "sent unwritten", "time", "unread", "snapshot", "retry all", *STEPS]
)
NAMES = ("used", "pending")


def claim_and_die(batch_id: str, zion: FakeZion, terms: Terms, *, sends: bool) -> None:
    """A worker that dies before it sends what it has claimed, or before it writes down what became of it."""
    is_sole = not terms.policy.honours_keys
    claim = outbox.claim(SHARD, batch_id, 15, reading_seconds=120, sole=is_sole)
    if claim is None or claim.batch.state is State.DOUBTED or (is_sole and claim.in_doubt):
        return  # it would have read, not sent
    if sends and not reason_to_hold(claim.batch, terms.policy, in_doubt=claim.in_doubt):
        zion.report(claim.batch.endpoint, claim.batch.body, claim.batch.key, claim.batch.identities)


def settle_three() -> int:
    settle(make_event("ada", model="a"))
    settle(make_event("ben", model="b"))
    settle(make_event("ada", model="b"))
    return 3


def look_again(ledger: redis.Redis, zion: FakeZion) -> None:
    """A gateway fetches the limits anew, if it ever did."""
    if ledger.hexists(user_key("ext-ada"), "quotas"):
        zion.failures.clear()
        snapshot(zion, "ada", "ben")


def work(action: str, zion: FakeZion, terms: Terms) -> None:
    """One step of some worker, which may die in it."""
    if action in {"claim", "sent unwritten"}:
        zion.steps.clear()  # of passes that had nothing to send
        for batch_id in outbox.due(SHARD, 1)[1]:
            claim_and_die(batch_id, zion, terms, sends=action == "sent unwritten")
        return
    zion.steps.append(STEPS[action])
    with suppress(Killed):
        flush(SHARD, zion, terms)


def act(ledger: redis.Redis, action: str, zion: FakeZion, terms: Terms) -> int:
    """One step of whoever; the number of calls settled."""
    if action == "settle":
        return settle_three()
    if action == "seal":
        seal_waiting(SHARD, terms)
    elif action == "time":
        make_due()
    elif action == "unread":
        zion.failures.append(ZionUnavailable("status 500"))
    elif action == "snapshot":
        look_again(ledger, zion)
    elif action == "retry all":
        for batch in replay.find(SHARD, "failed", replay.Filter()):
            replay.again(SHARD, batch, terms.form)
    else:
        work(action, zion, terms)
    return 0


@pytest.mark.parametrize(("honours_keys", "knows_figures"), [(True, False), (False, True), (False, False)])
@given(actions=st.lists(ACTIONS, min_size=3, max_size=12))
@example(actions=["settle", "lost after", "time", "refused for good"])
@example(actions=["settle", "killed after", "time", "refused for good"])
@example(actions=["settle", "lost after", "retry all", "refused for good"])
@example(actions=["settle", "killed after", "time", "refused", "retry all", "refused for good"])
@example(actions=["settle", "lost after", "unread", "settle", "time", "lost before", "snapshot"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_interruption_loses_nothing_and_counts_nothing_twice(
    ledger: redis.Redis, honours_keys: bool, knows_figures: bool, actions: list[str]
) -> None:
    for key in list(ledger.scan_iter(f"{config.get().redis_key_prefix}*")):
        ledger.delete(key)
    zion, terms = FakeZion(honours_keys=honours_keys), make_terms(honours_keys=honours_keys, lanes=1)
    if knows_figures:
        snapshot(zion, "ada", "ben")

    calls = sum(act(ledger, action, zion, terms) for action in actions)
    for _ in range(6):
        zion.steps.clear()
        zion.failures.clear()
        ledger.delete(keys.breaker())
        make_due()
        flush(SHARD, zion, terms)

    delivered, held, dead = (_calls_in(place) for place in (Place.DELIVERED, Place.HELD, Place.DEAD))
    assert ledger.xlen(keys.stream(SHARD)) == 0
    assert len(delivered) + len(held) + len(dead) == calls == len(delivered | held | dead)
    assert all(len(bodies) == 1 for bodies in zion.bodies.values())
    if honours_keys or knows_figures:
        assert (zion.total("requests"), len(held)) == (calls - len(dead), 0)
    else:
        assert max(zion.arrived.values(), default=0) <= 1, "sent again though nobody knew the outcome"
        assert len(delivered) <= zion.total("requests") <= calls
    # A snapshot of the time of doubt may count usage twice; the next call has it fetched again.
    snapshot(zion, *(user for user in ("ada", "ben") if ledger.hexists(user_key(f"ext-{user}"), "refresh_due")))
    used, pending = (sum(quota(f"ext-{user}", "requests")[name] for user in ("ada", "ben")) for name in NAMES)
    assert (used, pending) == (len(delivered), len(held | dead))


def _calls_in(place: Place) -> set[str]:
    batches: Any = outbox.get(SHARD, outbox.ids(SHARD, place))
    return {orjson.loads(member.event)["call_id"] for batch in batches for member in batch.members}
