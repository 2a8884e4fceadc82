"""Adds up what the database says about itself: batches against their calls, hourly totals against the hour's calls.

Rows older than the retention are gone, so only hours that still have all of theirs are compared. Memory: one day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

from django.db.models import Count, Sum
from django.db.models.functions import TruncHour

from usage.models import BatchRecord, CallRecord, HourlyTotal
from usage.verify import Difference, steady
from usage.verify_read import Progress, pages

FIGURES = ("calls", "input", "output", "requests")
_BATCHES_AT_ONCE = 500
_SUMS: dict[str, Any] = {f"sum_{name}": Sum(name) for name in FIGURES[1:]}
_TRIES = 3
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ClassTotal:
    """Everything delivered of one user whose figures are known in one way."""

    external_id: str
    source: str
    calls: int
    input: int
    output: int
    requests: int


def batches(since: datetime, progress: Progress) -> list[Difference]:
    """Delivered batches whose number of calls is not that of their rows: a call is missing, or was in two batches."""
    found: list[Difference] = []
    looked = 0
    records = (
        BatchRecord.objects.filter(delivered_at__gte=since)
        .order_by("pk")
        .values_list("batch_id", "calls", "is_counted")
    )
    for page in pages(records.iterator(chunk_size=_BATCHES_AT_ONCE), _BATCHES_AT_ONCE):
        rows = CallRecord.objects.filter(batch_id__in=[batch_id for batch_id, _, _ in page]).order_by()
        counted = dict(rows.values_list("batch_id").annotate(Count("pk")))
        for batch_id, calls, is_counted in page:
            if counted.get(batch_id, 0) != calls:
                found.append(Difference("batch", "", batch_id, calls, counted.get(batch_id, 0), "rows of its calls"))
            if not is_counted:
                found.append(Difference("batch", "", batch_id, 1, 0, "is not in the totals"))
        looked += len(page)
        progress("delivered batches looked at", looked)
    return found


def hours(since: datetime, progress: Progress, external_id: str = "") -> list[Difference]:
    """Hourly totals that are not the sums of the rows of that hour. Writers at work are given time to finish."""
    found: list[Difference] = []
    first = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    for looked, day in enumerate(_days(first), 1):
        differences = _hours_of(day, external_id)
        for _ in range(_TRIES):
            if not differences:
                break
            Event().wait(_PAUSE_SECONDS)
            differences = steady(differences, _hours_of(day, external_id))
        found += differences
        progress("days looked at", looked)
    return found


def classes(external_id: str = "") -> Iterator[ClassTotal]:
    """Totals of each user by how the figures are known, over all time; ordered by user."""
    rows = HourlyTotal.objects.filter(**_of(external_id)).order_by("external_id", "source")
    found: Any = rows.values("external_id", "source").annotate(sum_calls=Sum("calls"), **_SUMS)
    for row in found.iterator(chunk_size=_BATCHES_AT_ONCE):
        yield ClassTotal(row["external_id"], row["source"], *(row[f"sum_{name}"] for name in FIGURES))


def _days(first: datetime) -> Iterator[datetime]:
    """Begins of the stretches of 24 hours, from `first` on, in which there is something."""
    begin = _next_hour(first)
    while begin:
        yield begin
        begin = _next_hour(begin + timedelta(days=1))


def _next_hour(begin: datetime) -> datetime | None:
    total = HourlyTotal.objects.filter(hour__gte=begin).order_by("hour").values_list("hour", flat=True).first()
    row = CallRecord.objects.filter(admitted_at__gte=begin).order_by("admitted_at")
    admitted = row.values_list("admitted_at", flat=True).first()
    found = [moment.replace(minute=0, second=0, microsecond=0) for moment in (total, admitted) if moment]
    return min(found, default=None)


def _hours_of(begin: datetime, external_id: str) -> list[Difference]:
    end = begin + timedelta(days=1)
    names = ("external_id", "model", "source")
    calls = CallRecord.objects.filter(admitted_at__gte=begin, admitted_at__lt=end, **_of(external_id)).order_by()
    by_hour: Any = calls.annotate(hour=TruncHour("admitted_at", tzinfo=UTC)).values("hour", *names)
    totals: Any = HourlyTotal.objects.filter(hour__gte=begin, hour__lt=end, **_of(external_id)).order_by()
    expected = _figures(by_hour.annotate(sum_calls=Count("pk"), **_SUMS), names)
    found = _figures(totals.values("hour", *names).annotate(sum_calls=Sum("calls"), **_SUMS), names)
    return [
        Difference("hour", at[1], f"{at[0]:%Y-%m-%d %H}h {at[2]} {at[3]} {name}", rows, total)
        for at in sorted(expected.keys() | found.keys())
        for name, rows, total in zip(FIGURES, expected.get(at, _NOTHING), found.get(at, _NOTHING), strict=True)
        if rows != total
    ]


_NOTHING = (0,) * len(FIGURES)


def _figures(rows: Any, names: tuple[str, ...]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    return {
        (row["hour"], *(row[name] for name in names)): tuple(row[f"sum_{name}"] for name in FIGURES) for row in rows
    }


def _of(external_id: str) -> dict[str, str]:
    return {"external_id": external_id} if external_id else {}
