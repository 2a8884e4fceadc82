"""Pure: which headers pass, up and down, and what our own look like. Allowlists in both directions.

Names are lower case, names and values bytes, as ASGI has them.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable

Header = tuple[bytes, bytes]

UPWARD = frozenset({b"content-type", b"accept", b"openai-beta"})
DOWNWARD = frozenset(
    {
        b"content-type",
        b"content-disposition",
        b"cache-control",
        b"retry-after",
        b"x-request-id",
        b"openai-processing-ms",
        b"openai-version",
    }
)
IDEMPOTENCY_KEY = b"idempotency-key"

_VALUE = re.compile(rb"[ -~]*")
# Identifiers of our organisation and projects, and keys, whole or starred out in the middle (`sk-ab***yz`).
_SECRETS = re.compile(
    rb"(?:(?<![A-Za-z0-9_])|(?<=\\[bfnrt])|(?<=\\u[0-9a-fA-F]{4}))"  # a JSON escape may stand before it
    rb"(?:org-|proj_|(?:sk|sess|rk)-)(?:[A-Za-z0-9_*.\-]|\xe2\x80\xa6)*[A-Za-z0-9_*\-]"
)
MASK = b"[redacted]"


def is_valid(value: bytes) -> bool:
    """Whether a value is printable ASCII: no control character can end a header and begin another."""
    return _VALUE.fullmatch(value) is not None


def upward(headers: Iterable[Header], user: str, key: bytes) -> list[Header]:
    """The caller's headers that go to the provider. `key` hashes the idempotency key, so that users cannot collide."""
    kept = []
    for name, value in headers:
        if name in UPWARD and is_valid(value):
            kept.append((name, value))
        elif name == IDEMPOTENCY_KEY and value:
            kept.append((name, hashed_key(value, user, key)))
    return kept


def hashed_key(value: bytes, user: str, key: bytes) -> bytes:
    """What goes up in place of a caller's idempotency key, in hex. With the user's length, no pair meets another."""
    name = user.encode("utf-8", "surrogatepass")
    return hmac.new(key, b"%d:%b:%b" % (len(name), name, value), hashlib.sha256).hexdigest().encode()


def downward(headers: Iterable[Header]) -> list[Header]:
    """The provider's headers that the caller gets. Those that its Connection names are for one hop only."""
    kept, hop = [], b""
    for name, value in headers:
        lower = name.lower()
        if lower in DOWNWARD:
            if is_valid(value) and not _SECRETS.search(value):
                kept.append((lower, value))
        elif lower == b"connection":
            hop += b"," + value.lower()
    if not hop:
        return kept
    named = {token.strip() for token in hop.split(b",")}
    return [(name, value) for name, value in kept if name not in named]


def of_length(headers: Iterable[Header]) -> list[Header]:
    """The provider's word on how long its answer is, where it is passed on as it comes: a cut one is known by it."""
    return [
        (b"content-length", value) for name, value in headers if name.lower() == b"content-length" and value.isdigit()
    ]


def rate_headers(limit: int, remaining: int, reset_epoch_seconds: int) -> list[Header]:
    """The rate window as the caller sees it; the reset is a time, in seconds since 1970."""
    return [
        (b"x-ratelimit-limit", b"%d" % limit),
        (b"x-ratelimit-remaining", b"%d" % max(remaining, 0)),
        (b"x-ratelimit-reset", b"%d" % reset_epoch_seconds),
    ]


def scrub(text: bytes) -> bytes:
    """A provider's error body without our identifiers and pieces of keys; all else stays."""
    return _SECRETS.sub(MASK, text)


def scrub_text(text: str) -> str:
    """The same for text."""
    return scrub(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
