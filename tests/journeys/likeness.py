"""Whether two documents are alike: equal in all but what the provider makes anew for every call. Pure.

Names that the provider makes are numbered in the order in which they are met, so that a name which comes twice in one
document has to come twice in the other. Times become a word.
"""

import re
from collections.abc import Mapping
from typing import Any

_SANDBOX = r"(?:[a-z]+[_-])+sandbox[0-9a-f]{8,}(?:_\w+)?"  # chatcmpl-sandbox0000002a, call_chatcmpl-sandbox0000002a_0
_OTHERS = r"[a-z]+[_-][0-9a-f]{24}"  # chatcmpl_5e6f...
_LANGCHAIN = r"lc_run--[0-9a-f-]{36}"
_PICTURE = r"images\.sandbox\.invalid/\d+"
_NAME = re.compile(rf"\b(?:{_SANDBOX}|{_OTHERS}|{_LANGCHAIN}|{_PICTURE})\b")
_TIMES = frozenset({"created", "created_at", "completed_at"})


def alike(document: Any) -> Any:
    """The document with made names numbered and times taken out."""
    return _alike(document, {})


def _alike(thing: Any, met: dict[str, int]) -> Any:
    if isinstance(thing, Mapping):
        return {name: _timeless(name, each, met) for name, each in thing.items()}
    if isinstance(thing, list):
        return [_alike(each, met) for each in thing]
    if isinstance(thing, str):
        return _NAME.sub(lambda name: f"<{met.setdefault(name[0], len(met))}>", thing)
    return thing


def _timeless(name: str, thing: Any, met: dict[str, int]) -> Any:
    if name in _TIMES and isinstance(thing, int | float):
        return "<time>"
    return _alike(thing, met)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Every place where two documents differ, in words."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = [*one, *(name for name in other if name not in one)]
        return [
            line
            for name in names
            for line in differences(one.get(name, "<absent>"), other.get(name, "<absent>"), f"{where}.{name}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for at, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f"{where}[{at}]")
        ]
    return [] if one == other and type(one) is type(other) else [f"{where.lstrip('.')}: {one!r} became {other!r}"]
