"""Reads untrusted replies: JSON, numbers, texts, dates, Retry-After. Pure; knows nothing of what they mean."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import orjson

REPLY_CAP_BYTES = 256 * 1024
MAX_EXACT = 2**53  # from here on Redis' Lua, whose numbers are doubles, would round
MAX_ERROR_CHARS = 200
MAX_RETRY_AFTER_SECONDS = 3600.0
DEFAULT_RETRY_AFTER_SECONDS = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r"\d{1,10}(\.\d{1,9})?", re.ASCII)


def parse(body: bytes) -> object:
    """The JSON of a reply. Raises ValueError for anything else, NaN and overlong or overdeep documents included."""
    if len(body) > REPLY_CAP_BYTES:
        raise ValueError("reply is too large")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # orjson is stricter: half a surrogate pair, as an error text cut in JavaScript has it, must not void a whole reply.
    try:
        return json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError("reply is not JSON") from error


def envelope(body: bytes) -> dict[str, object]:
    """The outer object of a reply. Raises ValueError when there is none or its `success` is not a boolean."""
    outer = parse(body)
    if not isinstance(outer, dict):
        raise ValueError("reply is not a JSON object")  # noqa: TRY004 - one error for every unusable reply
    if not isinstance(outer.get("success", True), bool):
        raise ValueError("reply has no readable success")  # noqa: TRY004 - as above
    return outer


def integer(value: object) -> int | None:
    """A whole number within 64 bits, signed or not; None for everything else (booleans, texts, fractions)."""
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return value
    return None


def count(value: object) -> int | None:
    """A whole number that can be counted with, 0 to 2^53 - 1, else None."""
    number = integer(value)
    return number if number is not None and 0 <= number < MAX_EXACT else None


def clean(text: str) -> str:
    """The text with what cannot be encoded replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def error_in(outer: Mapping[str, object]) -> str:
    """Zion's own words for a failure, `error` being an object or a text: one line, cut, empty if there are none."""
    error = outer.get("error")
    parts = [error.get("code"), error.get("message")] if isinstance(error, dict) else [error]
    text = ": ".join(part for part in parts if isinstance(part, str) and part)
    return " ".join(clean(text[: MAX_ERROR_CHARS * 4]).split())[:MAX_ERROR_CHARS]


def milliseconds(value: object) -> int | None:
    """An ISO 8601 date as UTC milliseconds; without a zone it is UTC. None when it is not readable or before 1970."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        moment = datetime.fromisoformat(value)
        elapsed = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return max(elapsed // timedelta(milliseconds=1), 0) or None


def timestamp(milliseconds_utc: int) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds_utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header's value, whatever its case."""
    return next((value for key, value in headers.items() if key.lower() == name), None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the reply asks to wait, 0 to 3600; None when it does not say or is not readable.

    A date is measured against the reply's own `Date`, so that our clock need not agree with Zion's.
    """
    value = (header(headers, "retry-after") or "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    until, now = _http_date(value), _http_date(header(headers, "date") or "")
    if until is None:
        return None
    if now is None:
        return DEFAULT_RETRY_AFTER_SECONDS
    return min(max((until - now).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number
