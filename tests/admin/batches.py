"""Batches brought to where an operator finds them, by the steps that bring them there."""

from dataclasses import replace

from sentinel.zion.schemas import Delivery, Verdict
from tests.usage.make import FORM, SHARD, FakeZion, Step, make_event, make_terms, settle
from usage import history, outbox
from usage.flush import flush, seal_waiting
from usage.resolution import Place, hold

BUSY = Delivery(Verdict.NOT_APPLIED, "connection refused")


def failed(user: str = "ada") -> str:
    """A batch that was tried once and waits for its next try."""
    settle(make_event(user))
    flush(SHARD, FakeZion(Step(applies=False, answer=BUSY)), make_terms())
    return newest(Place.BATCHES)


def held(user: str = "ada") -> str:
    """A batch of unknown outcome."""
    settle(make_event(user))
    seal_waiting(SHARD, make_terms())
    (batch_id,) = outbox.due(SHARD, 1)[1]
    claim = outbox.claim(SHARD, batch_id, 10)
    assert claim
    assert outbox.resolve(SHARD, claim.batch, hold(claim.batch, "its sender never reported back"), FORM)
    history.note_set_aside()
    return batch_id


def dead(user: str = "eli", calls: int = 1) -> str:
    """A batch that Zion rejected for good: nobody has that address any more."""
    for _ in range(calls):
        settle(make_event(user))
    terms = make_terms()
    terms = replace(terms, policy=replace(terms.policy, max_tries=1))
    flush(SHARD, FakeZion(unknown=[f"{user}@example.com"]), terms)
    history.note_set_aside()
    return newest(Place.DEAD)


def newest(place: Place) -> str:
    """The batch that came to a place last."""
    return outbox.ids(SHARD, place)[-1]
