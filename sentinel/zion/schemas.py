"""What we say to Zion and hear from it, as values, and the ways a question to Zion can fail. Pure.

ZionError
├── ZionRejectedToken    Zion does not know the client's token
├── ZionForbidden        the token is fine, its user may not or cannot be served
├── ZionUnknownUser      Zion has no limits for this external id
└── ZionUnavailable      no usable answer: down, slow, our key refused, or garbage
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from sentinel.exceptions import SentinelError

Metric = Literal["input", "output", "requests"]
ResetPeriod = Literal["DAILY", "WEEKLY", "MONTHLY", "NEVER"]
Identity = Literal["email", "externalId"]
Shape = Literal["unified", "per_limit"]
Endpoint = Literal["batch", "increment"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Who a token belongs to. All three are non-empty, as usage needs them."""

    user_id: str
    external_id: str
    email: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One metric of one of Zion's limits. `limit` None is unlimited; `name` never holds a space, colon or bar."""

    name: str
    metric: Metric
    limit: int | None
    used: int
    reset_period: ResetPeriod | None
    period_start_ms: int | None
    period_end_ms: int | None


@dataclass(frozen=True, slots=True)
class Increment:
    """Usage of one user and one model, to be added at Zion. All three identities travel, so it can be re-keyed."""

    user_id: str
    external_id: str
    email: str
    model: str
    input: int
    output: int
    requests: int
    timestamp_ms: int


class Verdict(StrEnum):
    """What one attempt to report usage did at Zion."""

    APPLIED = "applied"  # every item is accounted for, see each item's own verdict
    NOT_APPLIED = "not_applied"  # certainly nothing happened; the same may be sent again
    REJECTED = "rejected"  # certainly nothing happened, and repeating it will not help
    AMBIGUOUS = "ambiguous"  # it may or may not have been applied


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of one item: applied or rejected. `new_values` is Zion's `used` afterwards, by metric."""

    verdict: Verdict
    reason: str
    new_values: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one report. `items` has one entry per item sent when the verdict is applied, else none.

    `key_refused` means that Zion does not accept our own key: an operator must act.
    """

    verdict: Verdict
    reason: str
    items: tuple[ItemOutcome, ...] = ()
    retry_after_seconds: float | None = None
    trips_breaker: bool = False
    status: int | None = None
    key_refused: bool = False


class ZionError(SentinelError):
    """A question to Zion has no usable answer."""


class ZionRejectedToken(ZionError):
    """Zion answered 401 to the client's token."""


class ZionForbidden(ZionError):
    """Zion refuses this user, or the profile lacks what usage needs. `reason` is for the log, not for the caller."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ZionUnknownUser(ZionError):
    """Zion has no limits for this external id."""

    def __init__(self, reason: str = "it has no limits for this external id") -> None:
        super().__init__(reason)


class ZionUnavailable(ZionError):
    """Zion is down, slow, refuses our key or talks garbage; never the caller's fault."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)
