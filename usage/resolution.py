"""What follows from one attempt to deliver a batch. Pure: a batch and an outcome in, a decision out.

| Outcome                       | Decision                                                                        |
|-------------------------------|---------------------------------------------------------------------------------|
| applied                       | its users are credited; rejected items move into new batches                    |
| not applied                   | the same bytes under the same key, later                                        |
| not applied, too large        | two halves                                                                      |
| rejected, several items       | two halves, until the item at fault is alone                                    |
| rejected, one item            | a new batch, later; after `max_tries` rejections a dead letter                  |
| ambiguous, keys honoured      | the same bytes under the same key; held after ten equal replies or a day        |
| rejected, in doubt before     | as ambiguous: it says nothing of the attempt that may have been applied         |
| ambiguous, keys not honoured  | doubted: no user of it is sent for until Zion's figures were read back          |

New batches get new keys: what was rejected was not applied, and a server that honours keys would repeat its refusal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sentinel.zion.schemas import Delivery, ItemOutcome, Verdict
from usage.batch import LONGEST_REASON, Batch, Doubt, Draft, State, doubt_json, members_json
from usage.parts import METRICS, Credit, credits_for, join, part, remains, rendered_parts

MAX_BACKOFF_SECONDS = 300.0
MAX_EQUAL_REPLIES = 10
MAX_DOUBT_MS = 86_400_000  # servers that honour keys commonly forget them after a day
_NEVER_ABOUT_ONE_USER = frozenset({429, 503})


class Place(StrEnum):
    """The sorted sets that a batch can be in."""

    BATCHES = "batches"
    DELIVERED = "delivered"
    HELD = "held"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings that decide. `max_tries` counts rejections of an item.

    `quiet_ms` after an attempt of unknown outcome, Zion is no longer working on it.
    """

    honours_keys: bool
    max_tries: int
    quiet_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Child:
    """A new batch made of a part of an old one."""

    draft: Draft
    place: Place
    delay_ms: int = 0
    rejections: int = 0
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What to write down. `to` None means that children carry everything on.

    `figures` is, per user and metric, what Zion says that the user has used in all; None: no longer known.
    """

    outcome: str
    to: Place | None
    delay_ms: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)
    credits: Mapping[str, tuple[Credit, ...]] = field(default_factory=dict)
    children: tuple[Child, ...] = ()
    expect: tuple[State, ...] = (State.SENDING,)
    figures: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)


def decide(batch: Batch, delivery: Delivery, policy: Policy, *, chance: float) -> Resolution:
    """The decision for one attempt. `chance` from 0 to 1 spreads retries."""
    if delivery.verdict is Verdict.APPLIED:
        return _applied(batch, delivery.items, policy, chance)
    is_refused = delivery.verdict is Verdict.REJECTED or _is_about_its_items(batch, delivery)
    if delivery.verdict is Verdict.AMBIGUOUS or (is_refused and is_doubted(batch)):
        return _ambiguous(batch, delivery, policy, chance)
    if is_refused:
        return _rejected(batch, delivery, policy, chance)
    return _again(batch, delivery, chance, {"reason": _short(delivery.reason)})


def reason_to_hold(batch: Batch, policy: Policy, *, in_doubt: bool) -> str:
    """Why this batch must not be sent again without an operator, or nothing. Asked before every attempt."""
    if in_doubt and not policy.honours_keys:
        # One that was the only one for its users is not sent, but read back: see `lost`.
        return "" if batch.sole else "in doubt, and keys are no longer honoured"
    if batch.died >= MAX_EQUAL_REPLIES:
        return f"{batch.died} senders never reported back"
    doubted = is_doubted(batch)
    if doubted and batch.now_ms - (batch.doubt.since_ms or batch.created_ms) > MAX_DOUBT_MS:
        return "in doubt for a day"
    if doubted and not policy.honours_keys:
        return "in doubt, and keys are no longer honoured"
    return ""


def is_doubted(batch: Batch) -> bool:
    """Whether an earlier attempt may have been applied: nothing of it may be sent under another key then."""
    return batch.doubt.total > batch.doubt.cleared or batch.died > 0


def hold(batch: Batch, reason: str) -> Resolution:
    """Set a batch aside without sending it."""
    return held(batch, _doubted(batch, Delivery(Verdict.AMBIGUOUS, reason)), reason)


def put_back(batch: Batch) -> Resolution:
    """Claimed, and not sent: there was no permit in time."""
    return Resolution("not_applied", Place.BATCHES, 0, {"state": State.SEALED.value, "reason": batch.reason})


def lost(batch: Batch, policy: Policy) -> Resolution:
    """Its sender never reported back, and keys are not honoured: Zion's figures must say what became of it."""
    return _quiet(_doubted(batch, Delivery(Verdict.AMBIGUOUS, "its sender never reported back")), policy.quiet_ms)


def held(batch: Batch, doubt: Doubt, reason: str) -> Resolution:
    """For an operator. What Zion says of these users afterwards no longer tells what became of this batch."""
    fields = {"state": State.HELD.value, "doubt": doubt_json(doubt), "reason": _short(reason)}
    forgotten = {item.external_id: dict.fromkeys(METRICS) for item in batch.items}
    return Resolution("held", Place.HELD, 0, fields, expect=(batch.state,), figures=forgotten)


def backoff_ms(tries: int, *, chance: float) -> int:
    """1 s doubling to 5 min, the upper half of it by chance, so that batches do not come back together."""
    longest = min(MAX_BACKOFF_SECONDS, 2.0 ** min(tries, 16))
    return int(1000 * max(1.0, longest * (0.5 + chance / 2)))


def confirmed(batch: Batch, *, expect: State) -> Resolution:
    """An operator knows that Zion has applied it."""
    items = tuple(ItemOutcome(Verdict.APPLIED, "", {}) for _ in batch.identities)
    return replace(_applied(batch, items, Policy(honours_keys=False, max_tries=1), 0.0), expect=(expect,))


def _applied(batch: Batch, outcomes: Sequence[ItemOutcome], policy: Policy, chance: float) -> Resolution:
    parts = list(zip(rendered_parts(batch), outcomes, strict=True))
    failed: dict[int, list[tuple[tuple[str, ...], str]]] = {}
    credits: dict[str, list[Credit]] = {}
    figures: dict[str, dict[str, int | None]] = {}
    for (position, metrics), outcome in parts:
        if outcome.verdict is not Verdict.APPLIED:
            failed.setdefault(position, []).append((metrics, outcome.reason))
            continue
        members = [member for member in batch.members if member.item == position]
        found = credits.setdefault(batch.items[position].external_id, [])
        found += credits_for(members, metrics, outcome.new_values)
        if batch.state is not State.HELD:  # an operator's word changes nothing at Zion
            # Without one sender at a time, replies overtake each other.
            said = {} if policy.honours_keys else outcome.new_values
            known = figures.setdefault(batch.items[position].external_id, {})
            known.update({name: said.get(name) for name in metrics if getattr(batch.items[position], name)})
    rest = [(remains(batch, at, refused), refused[0][1]) for at, refused in failed.items()]
    if not credits:
        return Resolution("rejected", None, children=_retried(batch, rest, policy, chance))
    fields = {"state": State.APPLIED.value, "reason": ""}
    if failed:
        fields["members"] = members_json(member for member in batch.members if member.item not in failed)
    return Resolution(
        outcome="applied",
        to=Place.DELIVERED,
        fields=fields,
        credits={user: tuple(found) for user, found in credits.items()},
        children=_retried(batch, rest, policy, chance),
        expect=(State.SENDING, State.SEALED, State.HELD, State.DOUBTED),
        figures=figures,
    )


def _rejected(batch: Batch, delivery: Delivery, policy: Policy, chance: float) -> Resolution:
    if len(batch.items) > 1:
        middle = len(batch.items) // 2
        halves = (range(middle), range(middle, len(batch.items)))
        children = tuple(
            Child(part(batch, half, delivery.reason), Place.BATCHES, 0, batch.rejections) for half in halves
        )
        return Resolution("split", None, children=children)
    only = [(part(batch, range(1), ""), delivery.reason)]
    return Resolution("rejected", None, children=_retried(batch, only, policy, chance))


def _ambiguous(batch: Batch, delivery: Delivery, policy: Policy, chance: float) -> Resolution:
    doubt = _doubted(batch, delivery)
    if not policy.honours_keys:
        return _quiet(doubt, policy.quiet_ms)
    if doubt.equal >= MAX_EQUAL_REPLIES or batch.now_ms - doubt.since_ms > MAX_DOUBT_MS:
        return held(batch, doubt, doubt.reason)
    fields = {"doubt": doubt_json(doubt), "reason": doubt.reason}
    return replace(_again(batch, delivery, chance, fields), outcome="ambiguous")


def _again(batch: Batch, delivery: Delivery, chance: float, fields: dict[str, str]) -> Resolution:
    asked = delivery.retry_after_seconds
    delay_ms = backoff_ms(batch.tries - 1, chance=chance) if asked is None else int(asked * 1000)
    return Resolution("not_applied", Place.BATCHES, delay_ms, {"state": State.SEALED.value, **fields})


def _quiet(doubt: Doubt, delay_ms: int) -> Resolution:
    fields = {"state": State.DOUBTED.value, "doubt": doubt_json(doubt), "reason": doubt.reason}
    return Resolution("ambiguous", Place.BATCHES, delay_ms, fields)


def _retried(batch: Batch, parts: Sequence[tuple[Draft, str]], policy: Policy, chance: float) -> tuple[Child, ...]:
    """Rejected items: together once more after a while, or each a dead letter of its own after the last try."""
    rejections = batch.rejections + 1
    if rejections >= policy.max_tries:
        return tuple(Child(replace(draft, reason=_short(reason)), Place.DEAD, 0, rejections) for draft, reason in parts)
    if not parts:
        return ()
    together = join([draft for draft, _ in parts], _short(parts[0][1]))
    return (Child(together, Place.BATCHES, backoff_ms(batch.rejections, chance=chance), rejections),)


def _is_about_its_items(batch: Batch, delivery: Delivery) -> bool:
    """Too large a body is cut; a refusal by the increment endpoint may mean its one user, so the batch asks again."""
    if delivery.status == 413:
        return True
    plain = not delivery.trips_breaker and delivery.status not in _NEVER_ABOUT_ONE_USER
    return batch.endpoint == "increment" and delivery.status is not None and plain


def _doubted(batch: Batch, delivery: Delivery) -> Doubt:
    old, reason = batch.doubt, _short(delivery.reason)
    is_equal = (old.reason, old.status) == (reason, delivery.status)
    return Doubt(
        reason=reason,
        status=delivery.status,
        equal=old.equal + 1 if is_equal else 1,
        total=old.total + 1,
        since_ms=old.since_ms or batch.now_ms,
        last_ms=batch.now_ms,
        cleared=old.cleared,
    )


def _short(reason: str) -> str:
    return reason[:LONGEST_REASON]
