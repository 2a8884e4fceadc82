"""Zion's books: who there is, what each used, and what was applied. Exact integers, no clock, no HTTP."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sentinel.sandbox.cast import CAST, METRICS, Amounts, User

INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Item:
    """One usage item: amounts per metric under an identity, `kind` email or externalId. Model "" is none given."""

    kind: str
    identity: str
    amounts: Amounts
    model: str = ""
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: the user's figures after it, or why it was refused."""

    item: Item
    user: User | None = None
    used: Amounts = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """One request that was applied."""

    at: float
    endpoint: str
    key: str | None
    outcomes: tuple[Outcome, ...]


class Ledger:
    """The state of Zion. Totals are kept per user name and model, apart from `used`, which may start anywhere."""

    def __init__(self, users: Iterable[User] = CAST) -> None:
        self.users: dict[str, User] = {}
        self.used: dict[str, dict[str, int]] = {}
        self.totals: dict[str, dict[str, dict[str, int]]] = {}
        self.applied: list[Applied] = []
        self._by_token: dict[str, User] = {}
        self._by_email: dict[str, User] = {}
        self._by_external_id: dict[str, User] = {}
        for user in users:
            self.put(user)

    def put(self, user: User) -> None:
        """Add a user, or replace the one of the same name; the figures of `used` that are given replace the present."""
        self.users[user.name] = user
        self.used.setdefault(user.name, dict.fromkeys(METRICS, 0)).update(user.used)
        self._by_token = {each.token: each for each in self.users.values()}
        self._by_email = {each.email: each for each in self.users.values()}
        self._by_external_id = {each.external_id: each for each in self.users.values() if each.external_id}

    def by_token(self, token: str) -> User | None:
        """Whose token that is."""
        return self._by_token.get(token)

    def by_external_id(self, external_id: str) -> User | None:
        """Whose external id that is."""
        return self._by_external_id.get(external_id)

    def apply(
        self, items: Iterable[Item], *, at: float, endpoint: str, key: str | None, refused: frozenset[str] = frozenset()
    ) -> Applied:
        """Book the items in order; those of unknown or `refused` identities fail alone."""
        outcomes = tuple(self._apply_one(item, refused) for item in items)
        done = Applied(at, endpoint, key, outcomes)
        self.applied.append(done)
        return done

    def _apply_one(self, item: Item, refused: frozenset[str]) -> Outcome:
        directory = self._by_email if item.kind == "email" else self._by_external_id
        user = directory.get(item.identity)
        if user is None or item.identity in refused:
            return Outcome(item, error="User not found")
        used = self.used[user.name]
        if any(used[metric] + amount > INT64_MAX for metric, amount in item.amounts.items()):
            return Outcome(item, error="Counter overflow")
        models = self.totals.setdefault(user.name, {})
        total = models.setdefault(item.model, dict.fromkeys(METRICS, 0))
        for metric, amount in item.amounts.items():
            used[metric] += amount
            total[metric] += amount
        return Outcome(item, user, dict(used))

    def may_use(self, user: User) -> bool:
        """Whether every limit still has room."""
        used = self.used[user.name]
        return all(limit is None or used[metric] < limit for metric, limit in user.limits.items())

    def user_totals(self) -> Mapping[str, Amounts]:
        """Applied amounts per user, over all models."""
        return {
            name: {metric: sum(total[metric] for total in models.values()) for metric in METRICS}
            for name, models in self.totals.items()
        }
