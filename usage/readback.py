"""What Zion's figures say about a batch whose outcome is unknown and whose key Zion may have ignored. Pure.

1. `before` is what Zion certainly had for a user while nothing of ours was under way: the figure of the last confirmed
   report, or of a snapshot. Since then this batch alone was sent for the user.
2. `after` is what Zion says once it can no longer be working on the batch.
3. An item was applied if every quota of every metric in it rose by exactly ours within one period; it was not applied
   if every one stayed exactly as it was. Anything else (others report there too, a new period, no figure) is unknown.
4. Zion books items one by one, so each item is decided by itself: applied ones are credited, the others are sent again,
   unknown ones are held for an operator with these lines as evidence. Nothing is guessed.

Where all items are of one kind, the batch itself moves on, under its own key. Zion's figures are per external id; usage
may be reported by e-mail address: an address that changed hands shows as unknown, or as not applied to its old owner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from sentinel.zion.schemas import Increment
from usage.batch import Batch, Doubt, Draft, State, doubt_json, members_json
from usage.parts import METRICS, Credit, credits_for, join, part
from usage.resolution import (
    MAX_DOUBT_MS,
    MAX_EQUAL_REPLIES,
    Child,
    Place,
    Policy,
    Resolution,
    backoff_ms,
    held,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """What a user has used of one quota in all, in the period that ends at `period_ms` (0: none)."""

    period_ms: int
    used: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One user's figures by quota key (`name.metric`)."""

    before: Mapping[str, Figure]
    after: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Line:
    """The evidence on one quota: by how much it must have risen had the item been applied, and what it was and is."""

    user: str
    quota: str
    expected: int
    before: int | None
    after: int | None
    same_period: bool

    @property
    def rise(self) -> int | None:
        """By how much the figure rose; None when that cannot be said."""
        if self.before is None or self.after is None or not self.same_period:
            return None
        return self.after - self.before


class Finding(StrEnum):
    """What became of one item."""

    APPLIED = "applied"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


def judge(item: Increment, reading: Reading) -> tuple[Finding, list[Line]]:
    """What became of one item, and why."""
    lines = [line for metric in METRICS if getattr(item, metric) for line in _lines(item, metric, reading)]
    if all(line.rise == 0 for line in lines):
        return Finding.NOTHING, lines
    if all(line.rise == line.expected for line in lines):
        return Finding.APPLIED, lines
    return Finding.UNKNOWN, lines


def decide_by_figures(batch: Batch, readings: Mapping[str, Reading], *, chance: float) -> Resolution:
    """What follows for the batch. `readings` is per external id; `chance` from 0 to 1 spreads retries."""
    found = [judge(item, readings[item.external_id]) for item in batch.items]
    by_kind = {kind: [at for at, (finding, _) in enumerate(found) if finding is kind] for kind in Finding}
    doubt = replace(batch.doubt, evidence=[asdict(line) for _, lines in found for line in lines])
    if not by_kind[Finding.APPLIED] and not by_kind[Finding.NOTHING]:
        return held(batch, doubt, f"{doubt.reason}; Zion's figures do not tell")
    if len(by_kind[Finding.NOTHING]) == len(batch.items):
        return _again(batch, doubt, chance)
    return _parted(batch, doubt, by_kind, readings, chance)


def not_read(batch: Batch, reason: str, policy: Policy, *, delay_ms: int) -> Resolution:
    """Zion did not give its figures: later; after a day an operator decides."""
    if batch.now_ms - batch.doubt.since_ms > MAX_DOUBT_MS:
        return held(batch, batch.doubt, f"{batch.doubt.reason}; no figures for a day: {reason}")
    fields = {"state": State.DOUBTED.value, "reason": f"{batch.doubt.reason}; figures not read: {reason}"}
    return Resolution("not_read", Place.BATCHES, min(delay_ms, policy.quiet_ms), fields, expect=(State.DOUBTED,))


def _lines(item: Increment, metric: str, reading: Reading) -> list[Line]:
    quotas = sorted(q for q in {*reading.before, *reading.after} if q.rpartition(".")[2] == metric)
    return [_line(item, quota, getattr(item, metric), reading) for quota in quotas or [f"?.{metric}"]]


def _line(item: Increment, quota: str, amount: int, reading: Reading) -> Line:
    before, after = reading.before.get(quota), reading.after.get(quota)
    return Line(
        user=item.external_id,
        quota=quota,
        expected=amount,
        before=None if before is None else before.used,
        after=None if after is None else after.used,
        same_period=before is not None and after is not None and before.period_ms == after.period_ms,
    )


def _again(batch: Batch, doubt: Doubt, chance: float) -> Resolution:
    """Nothing of it was applied: the same bytes once more, unless the same thing happens for ever."""
    if doubt.equal >= MAX_EQUAL_REPLIES:
        return held(batch, doubt, f"{doubt.equal} times the same, and never applied: {doubt.reason}")
    cleared = replace(doubt, cleared=doubt.total)
    fields = {"state": State.SEALED.value, "doubt": doubt_json(cleared), "reason": doubt.reason, "died": "0"}
    delay_ms = backoff_ms(doubt.equal - 1, chance=chance)
    return Resolution("not_applied", Place.BATCHES, delay_ms, fields, expect=(State.DOUBTED,))


def _parted(
    batch: Batch,
    doubt: Doubt,
    by_kind: Mapping[Finding, Sequence[int]],
    readings: Mapping[str, Reading],
    chance: float,
) -> Resolution:
    """Each item goes its own way; what was applied stays behind in the batch."""
    applied, nothing, unknown = (by_kind[kind] for kind in (Finding.APPLIED, Finding.NOTHING, Finding.UNKNOWN))
    children = []
    if nothing:
        delay_ms = backoff_ms(0, chance=chance)
        children.append(Child(_joined(batch, nothing, doubt.reason), Place.BATCHES, delay_ms, batch.rejections))
    if unknown:
        reason = f"{doubt.reason}; Zion's figures do not tell"
        draft = _joined(batch, unknown, reason)
        children.append(Child(draft, Place.HELD, 0, batch.rejections, doubt=doubt_json(_about(draft, doubt))))
    fields = {"state": State.APPLIED.value, "reason": "", "doubt": doubt_json(doubt)}
    if children:
        fields["members"] = members_json(member for member in batch.members if member.item in applied)
    users = {at: batch.items[at].external_id for at in applied}
    return Resolution(
        outcome="applied" if applied else "split",
        to=Place.DELIVERED if applied else None,
        fields=fields,
        credits={user: _credits(batch, at, readings[user]) for at, user in users.items()},
        children=tuple(children),
        expect=(State.DOUBTED,),
        figures={user: _risen(batch.items[at], readings[user]) for at, user in users.items()}
        | {batch.items[at].external_id: dict.fromkeys(METRICS) for at in unknown},
    )


def _joined(batch: Batch, positions: Sequence[int], reason: str) -> Draft:
    return join([part(batch, range(at, at + 1), reason) for at in positions], reason)


def _about(draft: Draft, doubt: Doubt) -> Doubt:
    users = {item.external_id for item in draft.items}
    return replace(doubt, evidence=[line for line in doubt.evidence if line["user"] in users])


def _credits(batch: Batch, position: int, reading: Reading) -> tuple[Credit, ...]:
    members = [member for member in batch.members if member.item == position]
    values = {metric: value for metric, value in _risen(batch.items[position], reading).items() if value is not None}
    return tuple(credits_for(members, METRICS, values))


def _risen(item: Increment, reading: Reading) -> dict[str, int | None]:
    """Zion's figure of each metric of the item, where there is one quota of it."""
    values: dict[str, int | None] = {}
    for metric in METRICS:
        if getattr(item, metric):
            figures = [figure.used for quota, figure in reading.after.items() if quota.rpartition(".")[2] == metric]
            values[metric] = figures[0] if len(figures) == 1 else None
    return values
