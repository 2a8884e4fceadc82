"""Events to drafts of batches. Pure: the same entries always give the same drafts.

1. Each entry is read; one that cannot be read becomes a dead draft with its reason, never nothing.
2. Events of zeros are confirmed locally; they make one draft of their own.
3. The rest is grouped by user, model and period: the one that its charges name, else the UTC day of its admission.
4. Each group is one item, placed in the first draft that has room and no item of that user or address yet. Zion's reply
   names items by user only: two of one user in a batch could not be told apart.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sentinel.zion.schemas import Increment
from usage.batch import Draft, Kind, Member
from usage.values import UsageEvent

_DAY_MS = 86_400_000
_LARGEST = 2**53
_LATEST_MS = 253_402_300_800_000  # the year 10000: later times cannot be written
_CHARGE = re.compile(r"([^\s|]+)\|(\d{1,16})\|(\d{1,16})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the usage stream as it was read. Returned: Redis had no memory of the call when it was settled."""

    id: str
    call_id: str
    event: bytes
    charges: str
    is_returned: bool = False


@dataclass(frozen=True, slots=True)
class Charge:
    """What `pending` of one quota was raised by. `period_ms` is the end of the period it belongs to, 0 for none."""

    quota: str
    period_ms: int
    amount: int


def plan(entries: Iterable[Entry], *, max_items: int) -> list[Draft]:
    """Decide which entries go to Zion together: at most `max_items` a draft, one item per user and draft."""
    groups: dict[tuple[object, ...], list[tuple[Member, UsageEvent]]] = {}
    zeros: list[Member] = []
    drafts: list[Draft] = []
    for entry in entries:
        member = Member(entry.id, entry.call_id, 0, entry.event, entry.charges)
        try:
            event, charges = _read(entry)
        except ValueError as error:
            drafts.append(Draft(Kind.DEAD, (), (member,), f"unreadable: {error}"))
            continue
        if not (event.input or event.output or event.requests):
            zeros.append(member)
        else:
            groups.setdefault(_group_of(event, charges), []).append((member, event))
    if zeros:
        drafts.append(Draft(Kind.LOCAL, (), tuple(zeros)))
    return drafts + _pack(list(groups.values()), max_items)


def charges_of(text: str) -> tuple[Charge, ...]:
    """The charges of a stream entry. Raises ValueError for anything but `quota|period end|amount` between spaces."""
    charges = []
    for part in text.split():
        if (match := _CHARGE.fullmatch(part)) is None:
            raise ValueError("not a charge")
        charges.append(Charge(match[1], int(match[2]), int(match[3])))
    return tuple(charges)


def _read(entry: Entry) -> tuple[UsageEvent, tuple[Charge, ...]]:
    event = UsageEvent.from_json(entry.event)
    texts = (
        event.call_id,
        event.user_id,
        event.external_id,
        event.email,
        event.model,
        event.endpoint,
        event.request_id,
    )
    if not all(isinstance(text, str) for text in texts) or not event.external_id or not event.call_id:
        raise ValueError("an identity is missing")
    counts = (event.input, event.output, event.requests, event.admitted_ms)
    if not all(type(count) is int and 0 <= count < _LARGEST for count in counts) or event.admitted_ms >= _LATEST_MS:
        raise ValueError("a count is not a whole number from 0 to 2^53, or the time is beyond the year 9999")
    return event, charges_of(entry.charges)


def _group_of(event: UsageEvent, charges: tuple[Charge, ...]) -> tuple[object, ...]:
    periods = tuple(sorted({charge.period_ms for charge in charges if charge.period_ms}))
    user = (event.external_id, event.user_id, event.email)
    return *user, event.model, periods or event.admitted_ms // _DAY_MS


def _pack(groups: list[list[tuple[Member, UsageEvent]]], max_items: int) -> list[Draft]:
    packed: list[tuple[set[str], list[list[tuple[Member, UsageEvent]]]]] = []
    for group in groups:
        event = group[0][1]
        names = {f"id:{event.external_id}", f"user:{event.user_id}", f"email:{event.email.casefold()}"}
        for taken, chosen in packed:
            if len(chosen) < max_items and not taken & names:
                break
        else:
            taken, chosen = set(), []
            packed.append((taken, chosen))
        taken |= names
        chosen.append(group)
    return [_draft(chosen) for _, chosen in packed]


def _draft(groups: list[list[tuple[Member, UsageEvent]]]) -> Draft:
    members = [replace(member, item=at) for at, group in enumerate(groups) for member, _ in group]
    items = [_sum([event for _, event in group]) for group in groups]
    return Draft(Kind.SEND, tuple(items), tuple(members))


def _sum(events: list[UsageEvent]) -> Increment:
    first = events[0]
    return Increment(
        user_id=first.user_id,
        external_id=first.external_id,
        email=first.email,
        model=first.model,
        input=sum(event.input for event in events),
        output=sum(event.output for event in events),
        requests=sum(event.requests for event in events),
        timestamp_ms=max(event.admitted_ms for event in events),
    )
