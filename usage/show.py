"""How the admin writes times, spans, labels and tables. Knows nothing of what they are about."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))
NOTHING = "–"  # noqa: RUF001 - a dash where there is nothing
KINDS = {
    "sealed": "info",
    "sending": "primary",
    "doubted": "warning",
    "held": "warning",
    "dead": "danger",
    "applied": "success",
    "closed": "success",
    "half_open": "warning",
    "open": "danger",
}


def moment(ms: float | None) -> str:
    """A time in ms, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms else NOTHING


def span(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    for length, unit in _UNITS:
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def due(seconds: float) -> str:
    """When something is due, from now."""
    return "due" if seconds <= 0 else f"in {span(seconds)}"


def label(text: str) -> SafeString:
    """A state as a coloured label."""
    shown = {"text": text.replace("_", "-"), "type": KINDS.get(text, "")}
    return SafeString(render_to_string("unfold/helpers/label.html", shown).strip())


def link(url: str, text: str) -> SafeString:
    """A link; both parts are escaped."""
    return format_html('<a class="sentinel-link" href="{}">{}</a>', url, text)


def details(told: Mapping[str, int]) -> str:
    """Details of a call's tokens by name."""
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in told.items()) or NOTHING


def amounts(charges: str) -> str:
    """`quota|period end|amount` between spaces, without the periods: they are those of the call's admission."""
    parts = [charge.split("|") for charge in charges.split()]
    return ", ".join(f"{part[0]} {part[-1]}" for part in parts) or NOTHING


def pretty(raw: Any) -> SafeString:
    """JSON for reading; what is none is shown as it stands."""
    try:
        value = orjson.loads(raw) if isinstance(raw, str | bytes) else raw
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, TypeError):
        text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else str(raw)
    return format_html('<pre class="sentinel-json">{}</pre>', text)


def evidence(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What was read back from Zion about a batch of unknown outcome, as a table."""
    names = ("user", "quota", "expected", "before", "after")
    rows = [[NOTHING if line.get(name) is None else line[name] for name in names] for line in lines]
    return table(["User", "Quota", "Our usage", "Zion's figure before", "Zion's figure after"], rows)


def table(headers: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    """What unfold's table component takes."""
    return {"headers": headers, "rows": rows}
