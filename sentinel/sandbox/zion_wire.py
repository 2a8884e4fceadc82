"""Zion's wire forms, strictly: usage items in, figures out. The newest form by default, the older ones when told so."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sentinel.sandbox.cast import LIMIT_NAMES, METRICS, WIRE_NAMES, Amounts, User
from sentinel.sandbox.zion_ledger import INT64_MAX, Item, Outcome

MAX_MODEL_LENGTH = 128
LIMIT_NAME = "ai_usage"
IDENTITIES = ("email", "externalId")
SHAPES = ("unified", "per_limit")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
_METRICS_BY_LIMIT = {name: metric for metric, name in LIMIT_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Forms:
    """Which generation of the contract is spoken."""

    identity: str = "email"
    shape: str = "unified"

    def __post_init__(self) -> None:
        if self.identity not in IDENTITIES or self.shape not in SHAPES:
            raise ValueError("identity is email or externalId, shape is unified or per_limit")


def parse_item(raw: object, forms: Forms) -> Item:
    """One usage item. Raises ValueError with what is wrong."""
    identity = raw.get(forms.identity) if isinstance(raw, Mapping) else None
    if not isinstance(raw, Mapping) or not isinstance(identity, str) or not identity:
        raise ValueError(f"{forms.identity} is required")
    parse = _unified if forms.shape == "unified" else _per_limit
    return parse(raw, identity, forms)


def _unified(raw: Mapping[str, Any], identity: str, forms: Forms) -> Item:
    _only(raw, {forms.identity, "model", "timestamp", *WIRE_NAMES.values()})
    amounts = {metric: _amount(raw, name) for metric, name in WIRE_NAMES.items() if name in raw}
    if not amounts:
        raise ValueError("an item without any amount")
    model = raw.get("model", "-")
    if not isinstance(model, str) or not 1 <= len(model) <= MAX_MODEL_LENGTH:
        raise ValueError(f"model is text of 1 to {MAX_MODEL_LENGTH} characters")
    return Item(forms.identity, identity, amounts, model if "model" in raw else "", _timestamp(raw))


def _per_limit(raw: Mapping[str, Any], identity: str, forms: Forms) -> Item:
    _only(raw, {forms.identity, "limitName", "amount"})
    metric = _METRICS_BY_LIMIT.get(str(raw.get("limitName")))
    if metric is None:
        raise ValueError("limitName is not known")
    return Item(forms.identity, identity, {metric: _amount(raw, "amount") if "amount" in raw else 1})


def _only(raw: Mapping[str, Any], known: set[str]) -> None:
    if unknown := set(raw) - known:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")


def _amount(raw: Mapping[str, Any], name: str) -> int:
    value = raw[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= INT64_MAX:
        raise ValueError(f"{name} is a positive 64 bit integer, left out when nothing was used")
    return value


def _timestamp(raw: Mapping[str, Any]) -> str | None:
    if "timestamp" not in raw:
        return None
    value = raw["timestamp"]
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        raise ValueError("timestamp is RFC 3339 in UTC with milliseconds and Z")
    datetime.fromisoformat(value)
    return value


def profile(user: User) -> dict[str, object]:
    """What `users/me` says."""
    return {
        "id": user.user_id,
        "email": user.email,
        "name": user.name.capitalize(),
        "externalId": user.external_id,
        "emailVerified": True,
        "createdAt": "2025-01-01T00:00:00.000Z",
        "lastLoginAt": "2025-06-01T08:00:00.000Z",
        **user.profile,
    }


def limits(user: User, used: Amounts, forms: Forms, now: datetime) -> dict[str, object]:
    """What `limits/external` says: one limit of three metrics, or three limits in the older form."""
    period = {**month_of(now), **user.period}
    if forms.shape == "unified":
        entry = {"name": LIMIT_NAME, "displayName": "AI usage", "description": "All AI calls", "unit": "mixed"}
        entries: list[dict[str, object]] = [{**entry, **counters(user, used), **period}]
    else:
        entries = [_old_limit(user, used, metric, period) for metric in METRICS if user.limits.get(metric) is not None]
    return {"userId": user.user_id, "externalId": user.external_id, "limits": entries}


def counters(user: User, used: Amounts) -> dict[str, object]:
    """The three metrics; an unlimited one is null."""
    return {WIRE_NAMES[metric]: _counter(user.limits.get(metric), used[metric]) for metric in METRICS}


def _counter(limit: int | None, used: int) -> dict[str, int] | None:
    return None if limit is None else {"limit": limit, "used": used, "remaining": limit - used}


def _old_limit(user: User, used: Amounts, metric: str, period: Mapping[str, object]) -> dict[str, object]:
    name = LIMIT_NAMES[metric]
    head = {"limitId": f"limit-{name}", "name": name, "displayName": name, "unit": "count"}
    return {**head, **(_counter(user.limits.get(metric), used[metric]) or {}), **period}


def incremented(outcome: Outcome, user: User, forms: Forms, now: datetime, *, may_use: bool) -> dict[str, object]:
    """What a single increment is answered with."""
    if forms.shape == "unified":
        return {"canUse": may_use, **counters(user, outcome.used)}
    metric = next(iter(outcome.item.amounts))
    return _old_limit(user, outcome.used, metric, {**month_of(now), **user.period})


def result(outcome: Outcome, forms: Forms) -> dict[str, object]:
    """What a batch says about one item."""
    is_unified = forms.shape == "unified"
    names = [LIMIT_NAMES[metric] for metric in outcome.item.amounts]
    head = {forms.identity: outcome.item.identity, "limitName": LIMIT_NAME if is_unified else names[0]}
    if outcome.user is None:
        return {**head, "success": False, "error": outcome.error}
    limit = outcome.user.limits
    figures = {
        metric: {"newValue": outcome.used[metric], "limit": limit.get(metric)} for metric in outcome.item.amounts
    }
    if is_unified:
        return {**head, "success": True, **{WIRE_NAMES[metric]: figure for metric, figure in figures.items()}}
    return {**head, "success": True, **next(iter(figures.values()))}


def month_of(now: datetime) -> dict[str, object]:
    """The period that every limit of the cast has: the calendar month in UTC."""
    start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (start + timedelta(days=32)).replace(day=1)
    return {"resetPeriod": "MONTHLY", "periodStart": _instant(start), "periodEnd": _instant(end)}


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
