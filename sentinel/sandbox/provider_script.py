"""How the provider's simulator is told to behave: one frozen script, standing or carried by a call."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import orjson

USAGE = ("normal", "omit", "null", "zero", "negative", "string", "twice", "cumulative", "absurd")
SPLIT = ("none", "odd", "bytes")


@dataclass(frozen=True, slots=True)
class Script:
    """One behaviour. Everything at its default is an ordinary, instant answer.

    pieces: tokens per choice, None for one sentence. interval_ms: between pieces. first_byte_ms: before the headers.
    split: how a stream is torn into writes,
    or the sizes of the writes, over and over. usage: what is reported. The four `..._after` count pieces over all
    choices: break (TCP reset), end (clean end without `[DONE]`), hang, error event. A plain answer breaks or hangs
    in its middle, or at once for 0. padding: extra characters in every event.

    cached_tokens, audio_tokens: reported as parts of what is counted anyway. reasoning_tokens: generated per choice
    before the first piece, counted and never shown. audio_bytes: the size of spoken audio. audio_seconds: how long a
    recording is taken to be, None to judge by its size. verbatim: the answer itself in Base64, whatever the endpoint,
    with `status` and `content_type`; torn into writes where `split` says so, and `..._after` then counts writes.
    times: after so many calls of one caller the script is over, and what follows is ordinary.
    """

    pieces: int | None = None
    interval_ms: float = 0.0
    first_byte_ms: float = 0.0
    split: str | Sequence[int] = "none"
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
    cached_tokens: int = 0
    audio_tokens: int = 0
    reasoning_tokens: int = 0
    audio_bytes: int = 8192
    audio_seconds: float | None = None
    verbatim: str | None = None
    content_type: str | None = None
    times: int | None = None

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
    "split": (str, list),
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
    "cached_tokens": (int,),
    "audio_tokens": (int,),
    "reasoning_tokens": (int,),
    "audio_bytes": (int,),
    "audio_seconds": (int, float, type(None)),
    "verbatim": (str, type(None)),
    "content_type": (str, type(None)),
    "times": _COUNT,
}
_FIELDS = frozenset(entry.name for entry in fields(Script))


def directed(standing: Script, raw: object) -> Script:
    """The standing script with some fields replaced. Raises ValueError for what it does not know."""
    if not isinstance(raw, Mapping) or not set(raw) <= _FIELDS:
        raise ValueError(f"a script is an object of {', '.join(sorted(_FIELDS))}")
    for name, value in raw.items():
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
            raise ValueError(f"{name} has the wrong type")
    if not _may_split(raw.get("split", "none")) or raw.get("usage", "normal") not in USAGE:
        raise ValueError(f"split is one of {SPLIT} or a list of sizes, usage one of {USAGE}")
    b64decode(raw.get("verbatim") or "", validate=True)
    return replace(standing, **raw)


def _may_split(how: str | list[object]) -> bool:
    if isinstance(how, str):
        return how in SPLIT
    return bool(how) and all(type(size) is int and size > 0 for size in how)


def carried(standing: Script, metadata: object) -> Script:
    """The script of a call whose body has `metadata: {"sandbox": "<a JSON object>"}`. Raises ValueError."""
    text: Any = metadata.get("sandbox") if isinstance(metadata, Mapping) else None
    return standing if text is None else directed(standing, orjson.loads(text))
