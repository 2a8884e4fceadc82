"""Verifies the ledger of a live system: a difference counts when it stands still while its user does.

1. Everything under way is read once, then the users page by page. On a live system many of them seem to differ.
2. Those are read again: hash, what is under way, Zion, hash. A reading counts only when the hash was the same before
   and after. The first that shows no difference clears the user; the same one in STEADY readings in a row is one.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from sentinel.zion.schemas import Limit, ZionUnknownUser
from usage.verify import Account, Difference, Flight, differences, differences_at_zion, steady
from usage.verify_read import Progress, Reading, accounts, read, users

STEADY = 4  # readings: a reply of Zion, or of a Redis that was paused, may be on its way for longer than one pause


class LimitsSource(Protocol):
    """What the verification needs of Zion's synchronous client."""

    def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        """A user's limits as Zion has them now. Raises ZionUnknownUser or ZionUnavailable."""


@dataclass(slots=True)
class Verdict:
    """What was found in one shard. `busy` users never stood still; `in_doubt` is what Zion may have, per quota."""

    users: int = 0
    differences: list[Difference] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    in_doubt: dict[str, dict[str, int]] = field(default_factory=dict)
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """One verification of one shard. Without `zion` its figures are not asked for. Raises what the readings raise."""

    shard: int
    zion: LimitsSource | None
    progress: Progress
    rounds: int = 16
    pause_seconds: float = 0.5

    def run(self, only: Collection[str] = ()) -> Verdict:
        """All users of the shard, or only some."""
        reading = read(self.shard, self.progress)
        verdict = Verdict(unreadable=reading.unreadable)
        unseen = set(only or reading.flights)
        suspects: set[str] = set()
        for page in [list(only)] if only else users(self.shard):
            unseen.difference_update(page)
            suspects |= self._suspects(reading, page)
            verdict.users += len(page)
            self.progress("users looked at", verdict.users)
        suspects |= self._suspects(reading, unseen)
        wanted = set(only or reading.flights)
        verdict.in_doubt = {user: doubt for user in wanted if (doubt := _doubt(reading.flights[user]))}
        self._look_again(verdict, suspects, reading.open_calls)
        return verdict

    def _suspects(self, reading: Reading, external_ids: Iterable[str]) -> set[str]:
        found = accounts(external_ids)
        return {user for user, account in found.items() if self._judge(account, reading.flights.get(user) or Flight())}

    def _judge(self, account: Account, flight: Flight) -> list[Difference]:
        found = differences(account, flight)
        if self.zion is None or not account.current:
            return found
        limits: Sequence[Limit] | None
        try:
            limits = self.zion.fetch_limits(account.external_id)
        except ZionUnknownUser:
            limits = None
        return found + differences_at_zion(account, flight, limits)

    def _look_again(self, verdict: Verdict, suspects: set[str], open_calls: Collection[str]) -> None:
        left, before_that = set(suspects), dict[str, list[Difference]]()
        in_a_row: Counter[str] = Counter()
        for turn in range(self.rounds):
            if not left:
                break
            if turn:
                Event().wait(self.pause_seconds)
            for user, found in self._steady_readings(left, open_calls).items():
                same = steady(before_that.get(user, ()), found)
                in_a_row[user] = in_a_row[user] + 1 if same else 1
                if not found or in_a_row[user] >= STEADY:
                    verdict.differences += same
                    left.discard(user)
                before_that[user] = found
            self.progress("users looked at again", len(suspects) - len(left))
        verdict.busy = sorted(left)

    def _steady_readings(
        self, external_ids: Collection[str], open_calls: Collection[str]
    ) -> dict[str, list[Difference]]:
        """What differs, of those whose hash stood still meanwhile."""
        before = accounts(external_ids)
        reading = read(self.shard, _silent, among=open_calls)
        found = {user: self._judge(account, reading.flights.get(user) or Flight()) for user, account in before.items()}
        after = accounts(external_ids)
        return {user: differences for user, differences in found.items() if before[user] == after[user]}


def _doubt(flight: Flight) -> dict[str, int]:
    sums: dict[str, int] = {}
    for (quota, _), amount in flight.in_doubt.items():
        sums[quota] = sums.get(quota, 0) + amount
    return sums


def _silent(_what: str, _count: int) -> None:
    """No progress is told of rereadings."""
