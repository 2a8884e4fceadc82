"""All that may differ between what a client sees directly and through Sentinel. Whatever is not here is a fault.

Each entry is a pattern of a line of `likeness.differences`, and why that difference is right. Errors that Sentinel
words by itself are not here: the journeys name them (`ours`).
"""

import re
from collections.abc import Iterable

ALLOWED = {
    r"((chunks|first)\[\d+\]|final)\.usage: '<absent>' became None": (
        "Sentinel asks every stream for its usage. The event that carries it is withheld from a client that did not "
        "ask, but the provider then also writes `usage: null` into all others, and bytes are not rewritten."
    ),
    r"headers\.(server|set-cookie|openai-(organization|project)|x-ratelimit-[a-z]+-[a-z]+): .* became '<absent>'": (
        "Cookies, account and limits of our own account at the provider are nobody's business."
    ),
    r"headers\.(x-ratelimit-(limit|remaining|reset)|x-sentinel-[a-z-]+): '<absent>' became .*": (
        "The caller's own limits, and the id of the call."
    ),
    r"(.*\.)?store: True became False": (
        "Responses are not stored at the provider, unless reading stored ones is open and can be kept to their owners."
    ),
    r"(.*\.)?max_output_tokens: None became \d+": "A call without a cap gets one; the provider repeats it.",
    r"(.*\.)?has_request_id: False became True": (
        "Where the provider names no request id, Sentinel's own stands in for it."
    ),
}
# What differs in some runs only.
SOMETIMES = {
    r"headers\.(date|openai-processing-ms): .*": "Times; two quick runs may share them.",
    r"(second|answered)\..*(prompt|input|total)_tokens: \d+ became \d+": (
        "The id of a tool call goes back to the provider, which makes it anew each time; its tokens differ by a few."
    ),
}
_PATTERNS = [re.compile(pattern) for pattern in ALLOWED]
_SOMETIMES = [re.compile(pattern) for pattern in SOMETIMES]


def forbidden(differences: Iterable[str]) -> list[str]:
    """The differences that are not allowed."""
    return [line for line in differences if not any(pattern.fullmatch(line) for pattern in _PATTERNS + _SOMETIMES)]


def unused(differences: Iterable[str]) -> list[str]:
    """The allowances that none of these differences needs."""
    lines = list(differences)
    return [pattern.pattern for pattern in _PATTERNS if not any(pattern.fullmatch(line) for line in lines)]
