"""manage.py export_usage: delivered calls as CSV or JSON lines, for invoices and audits."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from sentinel.lib.clock import monotonic
from usage import export

_TELL_AFTER_SECONDS = 2.0


class Command(BaseCommand):
    help = (
        "Write delivered calls, oldest first, as CSV (default) or JSON lines. Rows are read as they are written, so "
        "any number fits. What waits for Zion is not delivered yet: see usage_summary. "
        "Exit status: 0 when all was written, 2 when the database or the file fails."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default="", help="only this external id")
        parser.add_argument("--since", type=_moment, metavar="WHEN", help="admitted then or later: 2026-11-01[T12:00]")
        parser.add_argument("--until", type=_moment, metavar="WHEN", help="admitted before")
        parser.add_argument("--format", choices=["csv", "jsonl"], default="csv", help="csv, or one JSON object a line")
        parser.add_argument("--json", action="store_const", dest="format", const="jsonl", help="the same as jsonl")
        parser.add_argument("--output", type=Path, metavar="FILE", help="a new file instead of the standard output")
        parser.add_argument("--dry-run", action="store_true", help="only count the rows")

    def handle(self, *_args: Any, **options: Any) -> None:
        rows = export.rows(user=options["user"], since=options["since"], until=options["until"])
        try:
            if options["dry_run"]:
                count = sum(1 for _ in rows)
            else:
                with self._target(options["output"]) as target:
                    count = self._write(target, rows, options["format"])
        except BrokenPipeError:  # `| head` has seen enough
            sys.stdout = None  # or the interpreter flushes into the broken pipe at its end
            return
        except (OSError, DatabaseError) as error:
            raise CommandError(str(error), returncode=2) from error
        self.stderr.write(f"{count} calls" + (" (dry run)" if options["dry_run"] else ""))

    def _write(self, target: TextIO, rows: Iterator[tuple[Any, ...]], form: str) -> int:
        line_of, count, told = (export.csv_line if form == "csv" else export.json_line), 0, monotonic()
        if form == "csv":
            target.write(export.csv_line(export.FIELDS) + "\n")
        for row in rows:
            target.write(line_of(row) + "\n")
            count += 1
            if monotonic() - told > _TELL_AFTER_SECONDS:
                told = monotonic()
                self.stderr.write(f"{count} calls")
        return count

    @contextmanager
    def _target(self, path: Path | None) -> Iterator[TextIO]:
        if path is None:
            yield self.stdout  # type: ignore[misc]  # Django's wrapper writes as a text file does
            return
        with path.open("x", encoding="utf-8") as file:
            yield file


def _moment(text: str) -> datetime:
    """UTC unless it says otherwise. Raises ArgumentTypeError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time such as 2026-11-01 or 2026-11-01T12:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
