"""Pure: what browsers are told about calls from pages of other origins (the Fetch standard, "CORS protocol").

Allowed origins are compared whole, never by pattern. Credentials are never allowed: a caller is a token in a header.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from sentinel import origins

Header = tuple[bytes, bytes]

METHODS = b"GET, POST, DELETE"
# What the OpenAI client sends from a browser, and no more.
REQUEST_HEADERS = frozenset(
    {b"authorization", b"content-type", b"accept", b"openai-beta", b"idempotency-key", b"x-request-id"}
)
_STAINLESS = re.compile(rb"x-stainless-[a-z0-9-]{1,48}")
_MOST_HEADERS = 40
# A page may read these besides the few that the standard lets it read.
EXPOSED = (
    b"x-sentinel-request-id", b"x-sentinel-quota-remaining", b"x-sentinel-output-cap",
    b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset",
    b"x-request-id", b"retry-after", b"x-should-retry", b"openai-processing-ms",
)  # fmt: skip
_EXPOSE = (b"access-control-expose-headers", b", ".join(EXPOSED))
_VARY = (b"vary", b"Origin")
# An origin that is taken off the list is out within ten minutes; browsers keep two hours at most.
_MAX_AGE_SECONDS = b"600"


@dataclass(frozen=True, slots=True)
class Policy:
    """The origins whose pages may call; `any_origin` lets all in."""

    allowed: frozenset[bytes]
    any_origin: bool

    @classmethod
    def of(cls, setting: str) -> Self | None:
        """The policy of CORS_ORIGINS, None where it is empty."""
        listed = origins.split(setting)
        return cls(frozenset(map(str.encode, listed)), listed == [origins.ANY]) if listed else None

    def answer_headers(self, headers: Iterable[Header]) -> list[Header]:
        """What an answer to a request with these headers carries. Caches keep the answers of each origin apart."""
        allowed = self._allowed(headers)
        return [_VARY] if allowed is None else [_VARY, (b"access-control-allow-origin", allowed), _EXPOSE]

    def preflight_headers(self, headers: list[Header]) -> list[Header] | None:
        """What a preflight is told besides; None where it is none, or of an origin that is not allowed."""
        given = dict(headers)
        if b"access-control-request-method" not in given or self._allowed(headers) is None:
            return None
        told = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", _MAX_AGE_SECONDS)]
        if kept := _may_be_sent(given.get(b"access-control-request-headers", b"")):
            told.append((b"access-control-allow-headers", kept))
        return told

    def _allowed(self, headers: Iterable[Header]) -> bytes | None:
        """What the answer names as allowed: the request's one origin, or the star."""
        given = [value for name, value in headers if name == b"origin"]
        if len(given) != 1:
            return None
        if self.any_origin:
            return b"*"
        return given[0] if given[0] in self.allowed else None


def _may_be_sent(requested: bytes) -> bytes:
    """Those of the requested headers that a page may send, each once."""
    names = dict.fromkeys(part.strip().lower() for part in requested.split(b",")[:_MOST_HEADERS])
    return b", ".join(name for name in names if name in REQUEST_HEADERS or _STAINLESS.fullmatch(name))
