"""What was used, delivered and noted, hour by hour, for the dashboard: a few queries, each over a bounded time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.db.models import CharField, Count, Q, Sum
from django.db.models.functions import Cast, Substr

from usage import trend
from usage.models import BatchRecord, DeadLetter, HourlyTotal

HOURS = 24
_HOUR = "%Y-%m-%d %H"
_BY_QUOTA, _BY_RATE = ("quota", "held"), ("rate", "tokens", "concurrent")


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its name, its colour as CSS, a figure per hour."""

    name: str
    colour: str
    figures: list[int] | list[float]


def hours(now: datetime) -> list[datetime]:
    """The beginnings of the last hours, oldest first, the present one last. `now` is in UTC."""
    last = now.replace(minute=0, second=0, microsecond=0)
    return [last - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]


def used(now: datetime) -> dict[str, list[int]]:
    """Calls, input, output and calls whose figures are not the provider's, per hour of admission, as delivered."""
    wanted = hours(now)
    sums: dict[str, Any] = {f"sum_{name}": Sum(name) for name in ("calls", "input", "output")}
    sums["sum_inexact"] = Sum("calls", filter=~Q(source="provider"), default=0)
    rows: Any = HourlyTotal.objects.filter(hour__gte=wanted[0]).order_by().values("hour").annotate(**sums)
    by_hour = {f"{row['hour']:{_HOUR}}": row for row in rows}
    return {name: _spread(wanted, by_hour, f"sum_{name}") for name in ("calls", "input", "output", "inexact")}


def delivered(now: datetime) -> dict[str, list[int]]:
    """Batches delivered, and letters set aside, per hour."""
    wanted = hours(now)
    batches = _per_hour(
        BatchRecord.objects.filter(delivered_at__gte=wanted[0]),
        "delivered_at",
        batches=Count("pk"),
    )
    letters = _per_hour(DeadLetter.objects.filter(since__gte=wanted[0]), "since", letters=Count("pk"))
    return {
        "batches": _spread(wanted, batches, "batches"),
        "letters": _spread(wanted, letters, "letters"),
    }


def noted(now: datetime) -> dict[str, list[int]]:
    """Per hour: failed attempts, refusals by kind, the most that waited, its age, how long the breaker was open (%).

    Raises RedisUnavailable.
    """
    figures: dict[str, list[int]] = {}
    for at, found in enumerate(trend.read(hours(now))):
        refused = {name: int(count) for name, count in found.items() if name.startswith("refused:")}
        row = {
            **{name: int(found.get(name, 0)) for name in ("failed", "waiting", "oldest")},
            "open": round(100 * found.get("open", 0) / found["looks"]) if found.get("looks") else 0,
            "quota": sum(refused.get(f"refused:{name}", 0) for name in _BY_QUOTA),
            "rate": sum(refused.get(f"refused:{name}", 0) for name in _BY_RATE),
        }
        row["other"] = sum(refused.values()) - row["quota"] - row["rate"]
        for name, figure in row.items():
            figures.setdefault(name, [0] * HOURS)[at] = figure
    return figures


def chart(now: datetime, lines: Iterable[Line], suffix: str = "") -> str:
    """What unfold's chart components take. `suffix` stands behind the figures of the axis."""
    datasets = [
        {
            "label": line.name,
            "data": line.figures,
            "backgroundColor": line.colour,
            "borderColor": line.colour,
            "displayYAxis": True,
            "suffixYAxis": suffix,
            "maxTicksXLimit": 12,
            "grouped": True,
            "maxBarThickness": 14,
            "borderRadius": 3,
            "borderSkipped": "bottom",
            "barPercentage": 0.9,
        }
        for line in lines
    ]
    return orjson.dumps({"labels": [f"{hour:%H}" for hour in hours(now)], "datasets": datasets}).decode()


def _per_hour(rows: Any, column: str, **figures: Any) -> dict[str, Mapping[str, Any]]:
    # The hour as text is cut in the database itself: SQLite would call Python for each row to truncate a time.
    hour = Substr(Cast(column, CharField()), 1, 13)
    return {
        row["hour_text"]: row
        for row in rows.order_by().annotate(hour_text=hour).values("hour_text").annotate(**figures)
    }


def _spread(wanted: list[datetime], by_hour: Mapping[str, Mapping[str, Any]], name: str) -> list[int]:
    nothing: Mapping[str, Any] = {}
    return [int(by_hour.get(f"{hour.astimezone(UTC):{_HOUR}}", nothing).get(name) or 0) for hour in wanted]
