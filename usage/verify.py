"""Adds up one user's ledgers and names what differs. Pure: figures in, differences out.

`held` is the sum of the holds of open calls, `active` their number. `pending` is the sum of the charges that Zion has
not confirmed: of events that wait in the stream and of batches that are sealed, being sent, held or dead (a dead letter
counts against the quota until an operator settles it), and `doubt` the part of it in batches that are held. Charges and
holds of a period that is over count no more.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sentinel.zion.schemas import Limit
from usage.aggregate import charges_of

_FIGURES = ("used", "pending", "held", "end", "doubt")
At = tuple[str, int]  # a quota and the end of its period, ms


class Standing(Enum):
    """What Zion may have of an event that waits."""

    ABSENT = "certainly nothing"
    DOUBTED = "perhaps all of it"
    HELD = "perhaps all of it, and an operator decides"


@dataclass(frozen=True, slots=True)
class Difference:
    """Two ledgers that should agree and do not. `where` says which figure of the user."""

    check: str
    external_id: str
    where: str
    expected: int
    found: int
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota as the user's hash has it; tokens or requests, `end` in ms, 0 without a period."""

    used: int
    pending: int
    held: int
    end: int
    doubt: int


@dataclass(frozen=True, slots=True)
class Account:
    """A user's hash. While a refresh is due, `used` may hold a delivery twice, on the refusing side."""

    external_id: str
    quotas: Mapping[str, Quota]
    current: frozenset[str]
    active: int
    is_refresh_due: bool


@dataclass(slots=True)
class Flight:
    """What of one user is under way: open calls with their holds, and charges that Zion has not confirmed.

    `in_doubt` is the part of `pending` that Zion may have by now, `set_aside` that of held batches. `again` are calls
    that wait though the history has them or though they wait elsewhere, `unleased` open calls that no reaper finds.
    """

    open_calls: int = 0
    held: Counter[At] = field(default_factory=Counter)
    pending: Counter[At] = field(default_factory=Counter)
    in_doubt: Counter[At] = field(default_factory=Counter)
    set_aside: Counter[At] = field(default_factory=Counter)
    again: set[str] = field(default_factory=set)
    unleased: set[str] = field(default_factory=set)

    def hold(self, call_id: str, holds: str, *, is_leased: bool) -> None:
        """Count an open call. Raises ValueError for holds that cannot be read."""
        self.open_calls += 1
        for charge in charges_of(holds):
            self.held[charge.quota, charge.period_ms] += charge.amount
        if not is_leased:
            self.unleased.add(call_id)

    def charge(self, charges: str, standing: Standing) -> None:
        """Count an event that Zion has not confirmed. Raises ValueError for charges that cannot be read."""
        sums = {
            Standing.ABSENT: (self.pending,),
            Standing.DOUBTED: (self.pending, self.in_doubt),
            Standing.HELD: (self.pending, self.in_doubt, self.set_aside),
        }
        for charge in charges_of(charges):
            for amounts in sums[standing]:
                amounts[charge.quota, charge.period_ms] += charge.amount


def account_of(external_id: str, fields: Mapping[str, str]) -> Account:
    """A user's hash as a value. Raises ValueError for a figure that is no number."""
    names = {name.rpartition(":")[0] for name in fields if name.rpartition(":")[2] in _FIGURES}
    quotas = {name: Quota(*(int(fields.get(f"{name}:{figure}", "0")) for figure in _FIGURES)) for name in sorted(names)}
    current = frozenset(fields.get("quotas", "").split())
    return Account(external_id, quotas, current, int(fields.get("active", "0")), "refresh_due" in fields)


def differences(account: Account, flight: Flight) -> list[Difference]:
    """What differs inside Redis."""
    user = account.external_id
    found = [Difference("active", user, "active", flight.open_calls, account.active)]
    for name in sorted(account.quotas.keys() | _live_names(account, flight)):
        quota = account.quotas.get(name)
        expected = {"held": flight.held, "pending": flight.pending, "doubt": flight.set_aside}
        found += [
            Difference(figure, user, f"{name}:{figure}", _sum(amounts, name, quota), getattr(quota, figure, 0))
            for figure, amounts in expected.items()
        ]
    found = [each for each in found if each.expected != each.found]
    found += [
        Difference("twice", user, call_id, 1, 2, "delivered, and waits again") for call_id in sorted(flight.again)
    ]
    return found + [
        Difference("lease", user, call_id, 1, 0, "open without a lease: nobody will reap it")
        for call_id in sorted(flight.unleased)
    ]


def differences_at_zion(account: Account, flight: Flight, limits: Sequence[Limit] | None) -> list[Difference]:
    """Where Zion's `used` is not ours. What is in doubt may be in Zion's figure or not. None: Zion has no such user."""
    user = account.external_id
    if limits is None:
        return [Difference("zion", user, "user", 1, 0, "Zion does not know this user")]
    return [
        Difference("zion", user, f"{name}:used", limit.used, account.quotas[name].used, _hint(flight, account, name))
        for limit in limits
        for name in [f"{limit.name}.{limit.metric}"]
        if name in account.current and _is_same_period(limit, account.quotas[name])
        if not _is_explained(limit.used - account.quotas[name].used, account, flight, name)
    ]


def _is_explained(more_at_zion: int, account: Account, flight: Flight, name: str) -> bool:
    in_doubt = flight.in_doubt[name, account.quotas[name].end]
    return 0 <= more_at_zion <= in_doubt or (more_at_zion < 0 and account.is_refresh_due)


def _hint(flight: Flight, account: Account, name: str) -> str:
    in_doubt = flight.in_doubt[name, account.quotas[name].end]
    return (
        f"in doubt: {in_doubt}" if in_doubt else "right again after `manage.py limits refresh` if others report there"
    )


def _is_same_period(limit: Limit, quota: Quota) -> bool:
    """Zion may not have rolled over yet, or we not: then the figures are of different periods."""
    is_known = limit.limit is not None
    return is_known and (limit.reset_period in {None, "NEVER"} or (limit.period_end_ms or 0) == quota.end)


def _sum(amounts: Counter[At], name: str, quota: Quota | None) -> int:
    """Those of the quota's present period; of a quota that the user's hash has lost, all."""
    return sum(amount for (of, end), amount in amounts.items() if of == name and (quota is None or end == quota.end))


def _live_names(account: Account, flight: Flight) -> Iterator[str]:
    """Quotas that are charged though the user's hash does not have them."""
    return (name for name, _ in flight.held.keys() | flight.pending.keys() if name not in account.quotas)


def steady(first: Iterable[Difference], second: Iterable[Difference]) -> list[Difference]:
    """Those that are the same in both readings, by as much."""
    again = {(each.check, each.external_id, each.where, each.found - each.expected) for each in second}
    return [each for each in first if (each.check, each.external_id, each.where, each.found - each.expected) in again]
