"""Delivered calls as lines of text, one at a time: a million rows take as little memory as one."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson

from usage.models import CallRecord

FIELDS = (
    "call_id", "request_id", "external_id", "user_id", "email", "model", "endpoint", "input", "output", "requests",
    "source", "admitted_at", "batch_id", "delivered_at",
    "cached_input", "audio_input", "image_input", "reasoning_output", "audio_output",
)  # fmt: skip
_ROWS_AT_ONCE = 2000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rows(*, user: str = "", since: datetime | None = None, until: datetime | None = None) -> Iterator[tuple[Any, ...]]:
    """Calls by time of admission, from `since` to before `until`, in the order of `FIELDS`. Raises DatabaseError."""
    found = CallRecord.objects.all()
    if user:
        found = found.filter(external_id=user)
    if since:
        found = found.filter(admitted_at__gte=since)
    if until:
        found = found.filter(admitted_at__lt=until)
    chosen: Any = found.order_by("admitted_at").values_list(*FIELDS)
    yield from chosen.iterator(chunk_size=_ROWS_AT_ONCE)


def csv_line(values: tuple[Any, ...]) -> str:
    """One line of CSV. Models and request ids come from clients: what a spreadsheet would run is made text by a `'`."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([_cell(value) for value in values])
    return line.getvalue()


def json_line(values: tuple[Any, ...]) -> str:
    """One JSON object."""
    return orjson.dumps(dict(zip(FIELDS, values, strict=True)), option=orjson.OPT_UTC_Z).decode()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
