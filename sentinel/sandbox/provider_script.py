"""How the provider's simulator is told to behave: one frozen script, standing or carried by a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import orjson

USAGE = ("normal", "omit", "null", "zero", "negative", "string", "twice", "cumulative", "absurd")
SPLIT = ("none", "odd", "bytes")


@dataclass(frozen=True, slots=True)
class Script:
    """One behaviour. Everything at its default is an ordinary, instant answer.

    pieces: tokens per choice, None for one sentence. interval_ms: between pieces. first_byte_ms: before the headers.
    split: how a stream is torn into writes. usage: what is reported. The four `..._after` count pieces over all
    choices: break (TCP reset), end (clean end without `[DONE]`), hang, error event. A plain answer breaks or hangs
    in its middle, or at once for 0. padding: extra characters in every event.
    """

    pieces: int | None = None
    interval_ms: float = 0.0
    first_byte_ms: float = 0.0
    split: str = "none"
    usage: str = "normal"
    break_after: int | None = None
    end_after: int | None = None
    hang_after: int | None = None
    error_event_after: int | None = None
    hang_before_headers: bool = False
    break_before_headers: bool = False
    status: int | None = None
    error: Mapping[str, object] | None = None
    retry_after: int | None = None
    crlf: bool = False
    comments: bool = False
    html: bool = False
    tool_calls: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    padding: int = 0

    def stop(self) -> tuple[int, str] | None:
        """After how many pieces a stream goes wrong, and how; the earliest of what is asked for."""
        after = {
            "break": self.break_after,
            "end": self.end_after,
            "hang": self.hang_after,
            "error": self.error_event_after,
        }
        return min(((count, how) for how, count in after.items() if count is not None), default=None)


_COUNT: tuple[type, ...] = (int, type(None))
_NUMBER: tuple[type, ...] = (int, float)
_TYPES: dict[str, tuple[type, ...]] = {
    "pieces": _COUNT,
    "interval_ms": _NUMBER,
    "first_byte_ms": _NUMBER,
    "split": (str,),
    "usage": (str,),
    "break_after": _COUNT,
    "end_after": _COUNT,
    "hang_after": _COUNT,
    "error_event_after": _COUNT,
    "hang_before_headers": (bool,),
    "break_before_headers": (bool,),
    "status": _COUNT,
    "error": (dict, type(None)),
    "retry_after": _COUNT,
    "crlf": (bool,),
    "comments": (bool,),
    "html": (bool,),
    "tool_calls": (bool,),
    "headers": (dict,),
    "padding": (int,),
}
_FIELDS = frozenset(entry.name for entry in fields(Script))


def directed(standing: Script, raw: object) -> Script:
    """The standing script with some fields replaced. Raises ValueError for what it does not know."""
    if not isinstance(raw, Mapping) or not set(raw) <= _FIELDS:
        raise ValueError(f"a script is an object of {', '.join(sorted(_FIELDS))}")
    for name, value in raw.items():
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
            raise ValueError(f"{name} has the wrong type")
    if raw.get("split", "none") not in SPLIT or raw.get("usage", "normal") not in USAGE:
        raise ValueError(f"split is one of {SPLIT}, usage one of {USAGE}")
    return replace(standing, **raw)


def carried(standing: Script, metadata: object) -> Script:
    """The script of a call whose body has `metadata: {"sandbox": "<a JSON object>"}`. Raises ValueError."""
    text: Any = metadata.get("sandbox") if isinstance(metadata, Mapping) else None
    return standing if text is None else directed(standing, orjson.loads(text))
