"""Zion's wire contract: build a request, read a profile or limits. Pure: no I/O, no clock, no settings.

Reading is tolerant about what may be left out and strict about what counts: a reply that could be misread is
"unavailable", never a guess. Replies to reported usage are read in `delivery.py`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args
from urllib.parse import quote

import orjson

from sentinel.zion.reading import MAX_EXACT, clean, count, envelope, integer, milliseconds, retry_after, timestamp
from sentinel.zion.schemas import (
    Endpoint,
    Identity,
    Increment,
    Limit,
    Metric,
    Profile,
    ResetPeriod,
    Shape,
    ZionForbidden,
    ZionRejectedToken,
    ZionUnavailable,
    ZionUnknownUser,
)

FIELDS: Mapping[Metric, str] = {"input": "aiInputTokens", "output": "aiOutputTokens", "requests": "aiRequests"}
# The oldest contract had one limit per metric; reading both forms to one name keeps counters across a change of form.
NAMED_LIMITS: Mapping[str, Metric] = {
    "ai_input_tokens": "input",
    "ai_output_tokens": "output",
    "ai_requests": "requests",
}
LIMIT_NAMES: Mapping[Metric, str] = {metric: name for name, metric in NAMED_LIMITS.items()}
UNIFIED_NAME = "ai_usage"
MAX_MODEL_CHARS = 128
MAX_IDENTITY_CHARS = 256
MAX_LIMITS = 100
_RESET_PERIODS: Mapping[str, ResetPeriod] = {period: period for period in get_args(ResetPeriod)}
_TOKEN = re.compile(r"[\x21-\x7e]+")
_ENDPOINTS: Mapping[Endpoint, str] = {
    "batch": "/api/v1/usage/external/batch-increment",
    "increment": "/api/v1/usage/external/increment",
}
# Compressed replies are not asked for: the cap on a reply is then a cap on what it unpacks to.
_COMMON = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "sentinel"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request to Zion. `template` is the path without anybody's id, for logs; headers hold secrets."""

    method: str
    path: str
    template: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


def profile_request(token: str) -> Request:
    """Ask whom a client's token belongs to. Raises ZionRejectedToken for a token that no header can carry."""
    if not _TOKEN.fullmatch(token):
        raise ZionRejectedToken
    path = "/api/v1/users/me"
    return Request("GET", path, path, {**_COMMON, "authorization": f"Bearer {token}"})


def limits_request(external_id: str, api_key: str) -> Request:
    """Ask for a user's limits. Raises ZionUnknownUser for an id that would become another path."""
    if not _is_usable(external_id):
        raise ZionUnknownUser
    root = "/api/v1/limits/external/"
    return Request("GET", root + quote(external_id, safe=""), root + "{external_id}", _with_key(api_key))


def report_request(endpoint: Endpoint, body: bytes, key: str, api_key: str) -> Request:
    """Send rendered usage. `key` goes along as the Idempotency-Key: the same for the same bytes, always."""
    return Request(
        "POST", _ENDPOINTS[endpoint], _ENDPOINTS[endpoint], _with_key(api_key) | {"idempotency-key": key}, body
    )


def render(increments: Sequence[Increment], *, identity: Identity, shape: Shape, single: bool) -> bytes:
    """The body of a report: equal increments give equal bytes. `single` is the form of the increment endpoint.

    Raises ValueError for what Zion would have to refuse: no items, an increment of zeros, several items in a single.
    """
    items = [item for increment in increments for item in _items(increment, identity, shape)]
    if not items or (single and len(items) > 1):
        raise ValueError(f"a report cannot have {len(items)} items here")
    return orjson.dumps(items[0] if single else {"increments": items})


def identities(increments: Sequence[Increment], *, identity: Identity, shape: Shape) -> tuple[str, ...]:
    """Whose each rendered item is, in order: what the reply is checked against."""
    return tuple(_identity(one, identity) for one in increments for _ in _items(one, identity, shape))


def read_profile(status: int, headers: Mapping[str, str], body: bytes) -> Profile:
    """Raises ZionRejectedToken (401), ZionForbidden (403, 404, no usable identity), else ZionUnavailable."""
    if status == 401:
        raise ZionRejectedToken
    if status in {403, 404}:
        raise ZionForbidden(f"status {status}")
    fields = _object_in(status, headers, body)
    return Profile(
        user_id=_identity_in(fields, "id"),
        external_id=_identity_in(fields, "externalId"),
        email=_identity_in(fields, "email"),
    )


def read_limits(status: int, headers: Mapping[str, str], body: bytes, *, external_id: str = "") -> tuple[Limit, ...]:
    """Every limit, one per metric. A reply about someone else than `external_id` (when given) is not believed.

    Raises ZionUnknownUser (404), else ZionUnavailable; a 401 means our own key.
    """
    if status == 404:
        raise ZionUnknownUser
    fields = _object_in(status, headers, body)
    if external_id and fields.get("externalId") not in (None, external_id):
        raise ZionUnavailable("limits of another user")
    entries = fields.get("limits")
    if not isinstance(entries, list) or len(entries) > MAX_LIMITS:
        raise ZionUnavailable("reply has no list of limits")
    return _distinct([limit for entry in entries for limit in _limits_in(entry)])


def _with_key(api_key: str) -> dict[str, str]:
    return {**_COMMON, "content-type": "application/json", "x-api-key": api_key}


def _identity(increment: Increment, identity: Identity) -> str:
    return increment.email if identity == "email" else increment.external_id


def _items(increment: Increment, identity: Identity, shape: Shape) -> list[dict[str, object]]:
    """The items of one increment: one when unified, else one per metric. Zeros are left out, as the contract asks."""
    amounts: dict[Metric, int] = {"input": increment.input, "output": increment.output, "requests": increment.requests}
    used = {metric: amount for metric, amount in amounts.items() if amount > 0}
    if not used:
        raise ValueError("an increment of zeros is not sent")
    who: dict[str, object] = {identity: _identity(increment, identity)}
    if shape == "per_limit":
        return [who | {"limitName": LIMIT_NAMES[metric], "amount": amount} for metric, amount in used.items()]
    item = who | {FIELDS[metric]: amount for metric, amount in used.items()}
    if model := clean(increment.model)[:MAX_MODEL_CHARS]:
        item["model"] = model
    return [item | {"timestamp": timestamp(increment.timestamp_ms)}]


def _object_in(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
    if not 200 <= status < 300:
        raise ZionUnavailable(f"status {status}", retry_after(headers))
    try:
        outer = envelope(body)
    except ValueError as error:
        raise ZionUnavailable(str(error)) from error
    fields = outer.get("data")
    if outer.get("success", True) is False or not isinstance(fields, dict):
        raise ZionUnavailable("reply has no data")
    return fields


def _identity_in(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ZionUnavailable(f"{name} is not a text")
    if value is None or not _is_usable(value):
        raise ZionForbidden(f"profile has no usable {name}")
    return value


def _is_usable(identity: str) -> bool:
    """Whether usage can be booked on it. Dots alone would be resolved away as path segments, encoded or not."""
    return 0 < len(identity) <= MAX_IDENTITY_CHARS and identity.isprintable() and bool(identity.strip(" ."))


def _limits_in(entry: object) -> Iterator[Limit]:
    if not isinstance(entry, dict):
        raise ZionUnavailable("a limit is not an object")
    name = entry.get("name") or UNIFIED_NAME
    if not isinstance(name, str) or not _is_usable(name):
        raise ZionUnavailable("a limit has no usable name")
    if any(key in entry for key in FIELDS.values()):
        yield from (_limit(name, metric, entry.get(key), entry) for metric, key in FIELDS.items())
    elif name in NAMED_LIMITS:
        yield _limit(UNIFIED_NAME, NAMED_LIMITS[name], entry, entry)
    elif "limit" not in entry:
        # A limit that names no metric leaves all three unlimited; one with a figure of its own is about something else.
        yield from (_limit(name, metric, None, entry) for metric in FIELDS)


def _limit(name: str, metric: Metric, figures: object, entry: Mapping[str, object]) -> Limit:
    ceiling, used = _figures(figures)
    return Limit(
        # Names become parts of Redis keys and of lists separated by spaces and bars.
        name=quote(name, safe=""),
        metric=metric,
        limit=ceiling,
        used=used,
        reset_period=_reset_period(entry.get("resetPeriod")),
        period_start_ms=milliseconds(entry.get("periodStart")),
        period_end_ms=milliseconds(entry.get("periodEnd")),
    )


def _reset_period(value: object) -> ResetPeriod | None:
    return _RESET_PERIODS.get(value.upper()) if isinstance(value, str) else None


def _figures(figures: object) -> tuple[int | None, int]:
    """Limit and used of one metric; missing, null, negative or 2^53 and above is unlimited."""
    if figures is None:
        return None, 0
    if not isinstance(figures, dict):
        raise ZionUnavailable("a metric is not an object")
    if figures.get("limit") is None:
        return None, count(figures.get("used")) or 0
    limit, used = integer(figures["limit"]), integer(figures.get("used"))
    if limit is None:
        raise ZionUnavailable("a limit is not a whole number")
    if not 0 <= limit < MAX_EXACT:
        return None, count(used) or 0
    if used is None and (remaining := integer(figures.get("remaining"))) is not None:
        used = limit - remaining
    if used is None or used >= MAX_EXACT:
        raise ZionUnavailable("used is not a whole number")
    return limit, max(used, 0)


def _distinct(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Two limits of one name and metric cannot both be counted under it: the one with least room stays."""
    tightest: dict[tuple[str, str], Limit] = {}
    for limit in limits:
        rival = tightest.setdefault((limit.name, limit.metric), limit)
        if _room(limit) < _room(rival):
            tightest[limit.name, limit.metric] = limit
    return tuple(tightest.values())


def _room(limit: Limit) -> int:
    return MAX_EXACT if limit.limit is None else limit.limit - limit.used
