"""Parts of a batch: what each rendered item carries, who is charged, what is left when some were refused. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.zion.schemas import Increment
from usage.aggregate import Charge, charges_of
from usage.batch import LONGEST_REASON, Batch, Draft, Kind, Member

METRICS = ("input", "output", "requests")


@dataclass(frozen=True, slots=True)
class Credit:
    """A charge that Zion has confirmed; `new_value` is Zion's own figure afterwards, when it gave one."""

    charge: Charge
    new_value: int | None = None


def rendered_parts(batch: Batch) -> list[tuple[int, tuple[str, ...]]]:
    """Which increment, and which of its metrics, each rendered item carries."""
    if len(batch.identities) == len(batch.items):
        return [(position, METRICS) for position in range(len(batch.items))]
    return [
        (position, (metric,))
        for position, item in enumerate(batch.items)
        for metric in METRICS
        if getattr(item, metric) > 0
    ]


def credits_for(members: Iterable[Member], metrics: Sequence[str], new_values: Mapping[str, int]) -> list[Credit]:
    """The charges of these members that one confirmed item settles, summed per quota and period."""
    sums: dict[tuple[str, int], int] = {}
    for member in members:
        for charge in charges_of(member.charges):
            if _metric_of(charge.quota) in metrics and charge.amount:
                at = (charge.quota, charge.period_ms)
                sums[at] = sums.get(at, 0) + charge.amount
    # With several quotas of one metric nobody says which of them Zion's figure is about.
    quotas = [_metric_of(quota) for quota in {quota for quota, _ in sums}]
    return [
        Credit(Charge(quota, period, amount), new_values.get(metric) if quotas.count(metric) == 1 else None)
        for (quota, period), amount in sums.items()
        for metric in [_metric_of(quota)]
    ]


def charges_by_user(items: Sequence[Increment], members: Iterable[Member]) -> dict[str, list[Charge]]:
    """What these members raised `pending` by, per user, summed per quota and period."""
    sums: dict[str, dict[tuple[str, int], int]] = {}
    for member in members:
        of_user = sums.setdefault(items[member.item].external_id, {})
        for charge in charges_of(member.charges):
            at = (charge.quota, charge.period_ms)
            of_user[at] = of_user.get(at, 0) + charge.amount
    return {user: [Charge(*at, amount) for at, amount in found.items()] for user, found in sums.items()}


def remains(batch: Batch, position: int, refused: Sequence[tuple[tuple[str, ...], str]]) -> Draft:
    """What is left of one item: the metrics that were refused, with only their charges."""
    metrics = {metric for names, _ in refused for metric in names}
    draft = part(batch, range(position, position + 1), "")
    if metrics.issuperset(METRICS):
        return draft
    item = draft.items[0]
    members = tuple(replace(member, charges=_only(member.charges, metrics)) for member in draft.members)
    return replace(draft, items=(_reduced(item, metrics),), members=members)


def _reduced(item: Increment, metrics: set[str]) -> Increment:
    return replace(
        item,
        input=item.input if "input" in metrics else 0,
        output=item.output if "output" in metrics else 0,
        requests=item.requests if "requests" in metrics else 0,
    )


def part(batch: Batch, positions: range, reason: str) -> Draft:
    """Some neighbouring items of a batch, with their members."""
    items = tuple(batch.items[at] for at in positions)
    members = tuple(
        replace(member, item=member.item - positions.start) for member in batch.members if member.item in positions
    )
    return Draft(Kind.SEND, items, members, reason[:LONGEST_REASON])


def join(drafts: Sequence[Draft], reason: str) -> Draft:
    """Several drafts as one."""
    items: list[Increment] = []
    members: list[Member] = []
    for draft in drafts:
        members += [replace(member, item=member.item + len(items)) for member in draft.members]
        items += draft.items
    return Draft(Kind.SEND, tuple(items), tuple(members), reason)


def _only(charges: str, metrics: Iterable[str]) -> str:
    return " ".join(part for part in charges.split() if _metric_of(part.partition("|")[0]) in metrics)


def _metric_of(quota: str) -> str:
    return quota.rpartition(".")[2]
