"""Reads Zion's reply to reported usage into an outcome class. Pure.

| Evidence                                                        | Verdict     | Breaker |
|-----------------------------------------------------------------|-------------|---------|
| 2xx and every item accounted for, by position and identity      | applied     |         |
| 2xx, `success` false with an error and no data                  | rejected    |         |
| any other 2xx                                                   | ambiguous   | trips   |
| 400, 422                                                        | rejected    |         |
| 413 (the caller splits), 429                                    | not applied |         |
| 401, 403 (our key)                                              | not applied | trips   |
| 301, 307, 308, other 4xx but 409                                | not applied | trips*  |
| 503 with Retry-After                                            | not applied | trips   |
| other 3xx, 409, other 5xx                                       | ambiguous   | trips   |
| no reply, nothing left                                          | not applied | trips   |
| no reply, something may have left                               | ambiguous   | trips   |

* Not at the increment endpoint: there a 404 may be about one user, who must not stop the delivery of all others.

A 2xx that says `success: false` refuses the whole request: it is as final as a 400, and as certain. With `data`
beside it, the data decides, because a batch that failed in part may say so too.
"""

from collections.abc import Mapping, Sequence

from sentinel.zion.reading import count, envelope, error_in, retry_after
from sentinel.zion.schemas import Delivery, Endpoint, ItemOutcome, Verdict
from sentinel.zion.wire import FIELDS, NAMED_LIMITS

_MOVED = frozenset({301, 307, 308})


def delivery_of_failure(sent: bool, reason: str) -> Delivery:
    """The outcome of a request without a reply; `sent` is whether a byte of it may have left."""
    return Delivery(Verdict.AMBIGUOUS if sent else Verdict.NOT_APPLIED, reason, trips_breaker=True)


def read_report(
    status: int, headers: Mapping[str, str], body: bytes, identities: Sequence[str], endpoint: Endpoint
) -> Delivery:
    """The outcome of a report whose rendered items are about `identities`, in this order; whatever Zion answers."""
    if 200 <= status < 300:
        return _read_success(status, body, identities, endpoint)
    verdict, reason, trips_breaker = _refusal(status, retry_after(headers) is not None, endpoint)
    return Delivery(
        verdict=verdict,
        reason=reason if status == 413 else _error_text(body) or reason,
        retry_after_seconds=retry_after(headers),
        trips_breaker=trips_breaker,
        status=status,
        key_refused=status in {401, 403},
    )


def _refusal(status: int, has_retry_after: bool, endpoint: Endpoint) -> tuple[Verdict, str, bool]:
    """Verdict, reason and whether the breaker counts it, for a status other than 2xx."""
    named: dict[int, tuple[Verdict, str, bool]] = {
        400: (Verdict.REJECTED, "status 400", False),
        401: (Verdict.NOT_APPLIED, "our key is refused", True),
        403: (Verdict.NOT_APPLIED, "our key is refused", True),
        # With an idempotency key this is how a server says that the first attempt is still running.
        409: (Verdict.AMBIGUOUS, "status 409", True),
        413: (Verdict.NOT_APPLIED, "too large", False),
        422: (Verdict.REJECTED, "status 422", False),
        429: (Verdict.NOT_APPLIED, "status 429", False),
    }
    if status in named:
        return named[status]
    reason = f"status {status}"
    if status in _MOVED or 400 <= status < 500:
        return Verdict.NOT_APPLIED, reason, endpoint == "batch"
    if status == 503 and has_retry_after:
        return Verdict.NOT_APPLIED, reason, True
    return Verdict.AMBIGUOUS, reason, True


def _read_success(status: int, body: bytes, identities: Sequence[str], endpoint: Endpoint) -> Delivery:
    try:
        outer = envelope(body)
        fields = outer.get("data")
        if outer.get("success") is False and not fields and (error := error_in(outer)):
            return Delivery(Verdict.REJECTED, error, status=status)
        read = _read_batch if endpoint == "batch" else _read_increment
        items = read(outer, fields if isinstance(fields, dict) else {}, identities)
    except ValueError as error:
        return Delivery(Verdict.AMBIGUOUS, str(error), trips_breaker=True, status=status)
    return Delivery(Verdict.APPLIED, "", items, status=status)


def _read_batch(
    _outer: Mapping[str, object], fields: Mapping[str, object], identities: Sequence[str]
) -> tuple[ItemOutcome, ...]:
    """One outcome per item. Raises ValueError unless all items are there, in order, and the totals agree."""
    results = fields.get("results")
    if not isinstance(results, list) or len(results) != len(identities):
        raise ValueError("reply does not have one result per item")
    items = tuple(_outcome(result, identity) for result, identity in zip(results, identities, strict=True))
    failed = sum(item.verdict is Verdict.REJECTED for item in items)
    # Zion's specification counts failed items as processed in one place and not in another.
    if not (
        _agrees(fields.get("failed"), failed) and _agrees(fields.get("processed"), len(items), len(items) - failed)
    ):
        raise ValueError("totals contradict the results")
    return items


def _read_increment(
    outer: Mapping[str, object], fields: Mapping[str, object], identities: Sequence[str]
) -> tuple[ItemOutcome, ...]:
    """`canUse: false` was recorded all the same. Raises ValueError when the reply is not about this increment."""
    is_known = "canUse" in fields or any(key in fields for key in FIELDS.values())
    if outer.get("success") is False or not (is_known or (outer.get("success") and fields)):
        raise ValueError("reply does not say that it was recorded")
    if _names(fields) and not _is_about(fields, identities[0]):
        raise ValueError("reply is about someone else")
    return (ItemOutcome(Verdict.APPLIED, "", _new_values(fields, "used")),)


def _outcome(result: object, identity: str) -> ItemOutcome:
    if not isinstance(result, dict) or not _is_about(result, identity):
        raise ValueError("a result is not about the item in its place")
    success = result.get("success")
    if not isinstance(success, bool) or (success and result.get("error")):
        raise ValueError("a result does not say whether it succeeded")
    if not success:
        return ItemOutcome(Verdict.REJECTED, error_in(result) or "no reason given", {})
    return ItemOutcome(Verdict.APPLIED, "", _new_values(result, "newValue"))


def _names(result: Mapping[str, object]) -> bool:
    return any(isinstance(result.get(name), str) for name in ("email", "externalId"))


def _is_about(result: Mapping[str, object], identity: str) -> bool:
    email = result.get("email")
    is_email = isinstance(email, str) and email.casefold() == identity.casefold()
    return is_email or result.get("externalId") == identity


def _agrees(total: object, *expected: int) -> bool:
    return total is None or count(total) in expected


def _new_values(result: Mapping[str, object], name: str) -> dict[str, int]:
    """Zion's `used` after this item, for the metrics that it gives readably."""
    values = {metric: _count_in(result.get(key), name) for metric, key in FIELDS.items()}
    old_name = result.get("limitName") or result.get("name")
    if isinstance(old_name, str) and old_name in NAMED_LIMITS:
        values[NAMED_LIMITS[old_name]] = _count_in(result, name)
    return {metric: value for metric, value in values.items() if value is not None}


def _count_in(figures: object, name: str) -> int | None:
    return count(figures.get(name)) if isinstance(figures, dict) else None


def _error_text(body: bytes) -> str:
    try:
        return error_in(envelope(body))
    except ValueError:
        return ""  # a status alone says enough
