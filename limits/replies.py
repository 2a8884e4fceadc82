"""The reply of lua/admit.lua by name, and the error for each reply that is not a grant. Pure but for metrics."""

import math
from dataclasses import dataclass
from typing import Any

from sentinel import config
from sentinel.exceptions import (
    CallError,
    Forbidden,
    QuotaExceeded,
    QuotaStoreUnavailable,
    RateLimitExceeded,
    SentinelError,
)
from sentinel.lib import metrics


class Revoked(SentinelError):
    """The caller's token was validated before the user was revoked: it must be validated again."""


@dataclass(frozen=True, slots=True)
class AdmitReply:
    """The reply of admit.lua, in its order; times in ms of Redis' clock. Admitted: `quota` is what is left of each."""

    decision: str
    now: int
    remaining: int
    reset: int
    cap: int
    input: int
    output: int
    refresh: int
    would_refuse: str
    quota: str
    limit: int
    used: int
    held: int
    period_end: int
    before: int

    @classmethod
    def read(cls, reply: list[Any]) -> "AdmitReply":
        """Name the fields of a reply."""
        fields: list[Any] = [field.decode() if isinstance(field, bytes) else field for field in reply]
        return cls(*fields)


def refusal(reply: AdmitReply) -> SentinelError:
    """The error for a decision that is not a grant."""
    metrics.of(metrics.DECISIONS, reply.decision).inc()
    if reply.decision == "revoked":
        return Revoked("validated before a revocation")
    if reply.decision == "blocked":
        return Forbidden("This user is blocked.")
    if reply.decision == "empty":
        return Forbidden("The governance service grants this user nothing.")
    if reply.decision == "duplicate":
        return QuotaStoreUnavailable(retry_after_seconds=1)
    by_rate = reply.decision in {"rate", "concurrent", "tokens"}
    error: CallError = _rate_error(reply) if by_rate else _quota_error(reply)
    error.rate = (config.get().rate_limit_requests, max(reply.remaining, 0), reply.reset or reply.now)
    return error


def _rate_error(reply: AdmitReply) -> CallError:
    wait = max(math.ceil((reply.reset - reply.now) / 1000), 1)
    details: dict[str, object] = {"remaining": 0, "reset_at": reply.reset}
    if reply.decision == "tokens":
        message = f"Too many tokens in {config.get().rate_limit_window_seconds} seconds."
        return RateLimitExceeded(
            message, details={**details, "limit": reply.limit, "used": reply.used}, retry_after_seconds=wait
        )
    details["limit"] = config.get().rate_limit_requests
    if reply.decision == "concurrent":
        return RateLimitExceeded("Too many calls of this user are running.", details=details, retry_after_seconds=1)
    return RateLimitExceeded(details=details, retry_after_seconds=wait)


def _quota_error(reply: AdmitReply) -> QuotaExceeded:
    metric = reply.quota.rpartition(".")[2]
    wait = math.ceil((reply.period_end - reply.now) / 1000) if reply.period_end else None
    details = {
        "metric": metric,
        "limit": reply.limit,
        "used": reply.used,
        "held": reply.held,
        "remaining": max(reply.limit - reply.used - reply.held, 0),
        "reset_at": reply.period_end or None,
    }
    message = f"The {metric} quota of this period is used up."
    if reply.decision == "held":
        message = f"The {metric} quota of this period is held by other calls that are running."
    elif reply.used < reply.limit:
        message = f"The call does not fit into what is left of the {metric} quota of this period."
    return QuotaExceeded(
        message,
        details=details,
        retry_after_seconds=1 if reply.decision == "held" else wait,
    )
