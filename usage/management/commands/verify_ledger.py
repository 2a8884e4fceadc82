"""manage.py verify_ledger: add up Redis, database and Zion, and say where they differ."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from limits.keys import shard_of
from sentinel import config
from sentinel.lib.clock import monotonic
from sentinel.lib.redis import RedisUnavailable
from sentinel.zion.client import Zion
from sentinel.zion.schemas import ZionError
from usage import verify_history
from usage.verify import Difference
from usage.verify_history import FIGURES
from usage.verify_rounds import Verdict, Verification

_TELL_AFTER_SECONDS = 2.0


class Command(BaseCommand):
    help = (
        "Add up the ledgers: holds against open calls, unconfirmed usage against what waits, our figures against "
        "Zion's, batches and hourly totals against the rows of calls. Changes nothing, and may run on a live system: "
        "what is under way is read again until it stands still. Exit status: 0 when all is equal, "
        "1 when something differs, 2 when something cannot be read or never stands still."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default="", help="only this external id")
        parser.add_argument("--offline", action="store_true", help="do not ask Zion")
        parser.add_argument("--rounds", type=int, default=10, help="readings before a user counts as too busy (10)")
        parser.add_argument("--pause", type=float, default=0.5, metavar="SECONDS", help="between readings (0.5)")
        parser.add_argument("--json", action="store_true", help="one JSON object per line; the last is the summary")

    def handle(self, *_args: Any, **options: Any) -> None:
        self._told = monotonic()
        self._as_json = bool(options["json"])
        try:
            verdicts = self._ledgers(options)
            found = [each for verdict in verdicts for each in verdict.differences] + self._history(options["user"])
            totals = self._classes(options["user"])
        except (RedisUnavailable, DatabaseError, ZionError) as error:
            raise CommandError(f"cannot be read: {type(error).__name__}: {error}", returncode=2) from error
        self._report(verdicts, found, totals)

    def _ledgers(self, options: dict[str, Any]) -> list[Verdict]:
        settings, user = config.get(), options["user"]
        zion = None if options["offline"] else Zion(settings)
        shards = [shard_of(user)] if user else range(settings.usage_shards)
        rounds = {"rounds": options["rounds"], "pause_seconds": options["pause"]}
        return [Verification(shard, zion, self._progress, **rounds).run([user] if user else []) for shard in shards]

    def _history(self, user: str) -> list[Difference]:
        since = datetime.now(UTC) - timedelta(days=config.get().history_days) + timedelta(hours=1)
        found = verify_history.hours(since, self._progress, user)
        return found if user else found + verify_history.batches(since, self._progress)

    def _classes(self, user: str) -> dict[str, Counter[str]]:
        """Sums per class over all users; each user's own are written as they come, in JSON or when asked for one."""
        sums: dict[str, Counter[str]] = {}
        for total in verify_history.classes(user):
            sums.setdefault(total.source, Counter()).update({name: getattr(total, name) for name in FIGURES})
            if self._as_json:
                self._line({"kind": "class", **asdict(total)})
        return sums

    def _report(self, verdicts: list[Verdict], found: list[Difference], totals: dict[str, Counter[str]]) -> None:
        busy = [user for verdict in verdicts for user in verdict.busy]
        doubts = {user: doubt for verdict in verdicts for user, doubt in verdict.in_doubt.items()}
        summary = {
            "users": sum(verdict.users for verdict in verdicts),
            "differences": len(found),
            "busy": len(busy),
            "unreadable": sum(verdict.unreadable for verdict in verdicts),
        }
        self._lines("difference", [asdict(each) for each in found])
        self._lines("in_doubt", [{"user": user, **doubt} for user, doubt in sorted(doubts.items())])
        self._lines("busy", [{"user": user} for user in busy])
        if not self._as_json:
            self._lines("delivered", [{"source": source, **sums} for source, sums in sorted(totals.items())])
        self._lines("summary", [summary])
        if found:
            raise CommandError(f"{len(found)} differences.", returncode=1)
        if busy:
            raise CommandError(f"{len(busy)} users never stood still: try again when it is quieter.", returncode=2)
        if summary["unreadable"]:
            raise CommandError(f"{summary['unreadable']} waiting events cannot be read.", returncode=2)

    def _lines(self, kind: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            self._line({"kind": kind, **line})

    def _line(self, line: dict[str, Any]) -> None:
        if self._as_json:
            self.stdout.write(orjson.dumps(line).decode())
            return
        kind, *words = (f"{name}={value}" for name, value in line.items() if value != "")
        self.stdout.write("  ".join([kind.removeprefix("kind="), *words]))

    def _progress(self, what: str, count: int) -> None:
        """Every two seconds, for people; the standard output stays clean."""
        if monotonic() - self._told > _TELL_AFTER_SECONDS:
            self._told = monotonic()
            self.stderr.write(f"{count} {what}")
