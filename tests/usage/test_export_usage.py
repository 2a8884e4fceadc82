"""Delivered calls as lines: complete, oldest first, safe to open in a spreadsheet, one row in memory at a time."""

import csv
import io
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from usage import export
from usage.models import CallRecord

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def row(number: int, **changes: Any) -> CallRecord:
    fields: dict[str, Any] = {
        "call_id": f"call-{number}", "request_id": "", "external_id": "ext-ada", "user_id": "user-ada",
        "email": "ada@example.com", "model": "gpt-4o", "endpoint": "chat.completions", "input": 10, "output": 5,
        "requests": 1, "source": "provider", "admitted_at": NOON + timedelta(hours=number), "batch_id": "b",
        "delivered_at": NOON + timedelta(days=1),
    }  # fmt: skip
    return CallRecord(**{**fields, **changes})


def exported(*args: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("export_usage", *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def ids(*args: str) -> list[str]:
    return [orjson.loads(line)["call_id"] for line in exported("--json", *args)[0].splitlines()]


def test_csv_has_a_header_and_a_line_per_call_oldest_first() -> None:
    CallRecord.objects.bulk_create([row(2), row(1)])

    out, err = exported()

    lines = list(csv.DictReader(io.StringIO(out)))
    assert [line["call_id"] for line in lines] == ["call-1", "call-2"]
    assert tuple(lines[0]) == export.FIELDS
    assert "2 calls" in err


def test_json_lines_keep_every_figure() -> None:
    CallRecord.objects.bulk_create([row(1, input=2**53, model='a "model",\nof many lines')])

    (line,) = exported("--format", "jsonl")[0].splitlines()

    assert orjson.loads(line)["input"] == 2**53
    assert orjson.loads(line)["model"] == 'a "model",\nof many lines'


def test_details_are_the_last_columns() -> None:
    CallRecord.objects.bulk_create([row(1, cached_input=4, reasoning_output=2), row(2)])

    header, first, second = exported()[0].splitlines()

    assert header.endswith(",delivered_at,cached_input,audio_input,image_input,reasoning_output,audio_output")
    assert first.endswith(",4,0,0,2,0")
    assert second.endswith(",0,0,0,0,0")


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--user", "ext-ben"], ["call-4"]),
        (["--since", "2026-11-01T14:00"], ["call-2", "call-3", "call-4"]),
        (["--until", "2026-11-01T14:00"], ["call-1"]),
        (["--since", "2026-11-01T14:00", "--until", "2026-11-01T16:00+01:00"], ["call-2"]),
        (["--since", "2026-11-02"], []),
    ],
)
def test_user_and_times_choose_rows(args: list[str], found: list[str]) -> None:
    CallRecord.objects.bulk_create([row(1), row(2), row(3), row(4, external_id="ext-ben")])

    assert ids(*args) == found


@pytest.mark.parametrize("model", ["=cmd()", "+1", "-1", "@sum", "\tx"])
def test_what_a_spreadsheet_would_run_is_text(model: str) -> None:
    CallRecord.objects.bulk_create([row(1, model=model)])

    (line,) = csv.DictReader(io.StringIO(exported()[0]))

    assert line["model"] == f"'{model}"


def test_a_file_is_written_once_and_never_over_another(tmp_path: Path) -> None:
    CallRecord.objects.bulk_create([row(1)])
    file = tmp_path / "calls.csv"

    exported("--output", str(file))

    assert "call-1" in file.read_text(encoding="utf-8")
    with pytest.raises(CommandError) as refused:
        exported("--output", str(file))
    assert refused.value.returncode == 2


def test_a_dry_run_only_counts(tmp_path: Path) -> None:
    CallRecord.objects.bulk_create([row(1), row(2)])

    out, err = exported("--dry-run", "--output", str(tmp_path / "none"))

    assert out == ""
    assert "2 calls (dry run)" in err
    assert not (tmp_path / "none").exists()


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="--since"):
        exported("--since", "yesterday")


def test_many_rows_take_as_much_memory_as_few() -> None:
    CallRecord.objects.bulk_create([row(number) for number in range(20_000)], batch_size=1000)

    tracemalloc.start()
    count = sum(len(export.csv_line(values)) > 0 for values in export.rows())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 20_000
    assert peak < 12_000_000
