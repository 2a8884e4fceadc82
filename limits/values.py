"""Values of admission: who asks, how much is asked, what was granted. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller as verified by Zion. `validated_ms` is Redis' time just before Zion was asked."""

    user_id: str
    external_id: str
    email: str
    validated_ms: int
    token_hash: str


@dataclass(frozen=True, slots=True)
class Ask:
    """The most that a call may use: tokens counted by us, `choices` times the output cap, and requests (0 or 1).

    `cap` is the client's own output cap per choice, None without one; it is lowered to what is left, but not below
    `least` (None: the configured least). A call without a cap is granted at most `generous`, and not less than `floor`
    while others hold. A call without output (a list of models) has no choices.
    """

    input: int
    choices: int
    cap: int | None
    generous: int
    requests: int = 1
    floor: int = 1
    least: int | None = None


@dataclass(frozen=True, slots=True)
class RateState:
    """The caller's rate window after a decision; `reset_ms` is when its oldest call leaves it (Redis' time)."""

    limit: int
    remaining: int
    reset_ms: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What admission gives a call: its id, its output cap per choice (None: uncapped), what is held for it.

    `left` is what remains beside that of each limited metric, as callers are told: `input=1, output=2`.
    """

    call_id: str
    shard: int
    external_id: str
    admitted_ms: int
    cap: int | None
    held_input: int
    held_output: int
    rate: RateState
    would_refuse: str = field(default="")
    left: str = field(default="")


def period_after(end_ms: int, reset: str) -> int | None:
    """The end of the period that follows one ending at `end_ms` (UTC); None where the period does not repeat."""
    end = datetime.fromtimestamp(end_ms / 1000, UTC)
    if reset == "MONTHLY":
        year, month = divmod(end.year * 12 + end.month, 12)
        following = _same_day(end, year, month + 1)
    elif reset in {"DAILY", "WEEKLY"}:
        following = end + timedelta(days=1 if reset == "DAILY" else 7)
    else:
        return None
    return int(following.timestamp()) * 1000 + end_ms % 1000


def _same_day(moment: datetime, year: int, month: int) -> datetime:
    """The same day and time in another month, or that month's last day; the last day of a month stays the last."""
    first = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    last = (first - timedelta(days=1)).day
    is_last = (moment + timedelta(days=1)).day == 1
    return moment.replace(year=year, month=month, day=last if is_last else min(moment.day, last))
