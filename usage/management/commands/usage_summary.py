"""manage.py usage_summary: what waits, what was set aside, what was delivered."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.db.models import Sum

from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from usage import backlog
from usage.models import HourlyTotal
from usage.send import terms_of

_FIGURES = ("calls", "input", "output", "requests")


class Command(BaseCommand):
    help = (
        "Show the backlog, its age, batches by state, the breaker, and totals delivered. "
        "Exit status: 0 when nothing is set aside, 1 when something is dead or held, 2 when Redis or the "
        "database cannot be reached."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hours", type=int, default=24, help="totals of this many hours (24)")
        parser.add_argument("--user", default="", help="totals of this external id only")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        settings = config.get()
        try:
            shards = [asdict(backlog.look(shard)) for shard in range(settings.usage_shards)]
            breaker = terms_of(settings).breaker.look()
            totals = _totals(options["hours"], options["user"])
        except (RedisUnavailable, DatabaseError) as error:
            raise CommandError(str(error), returncode=2) from error
        oldest = max(shard.pop("oldest_age_seconds") for shard in shards)
        sums = {name: sum(shard[name] for shard in shards) for name in shards[0]}
        report = {
            **sums,
            "oldest_age_seconds": round(oldest, 1),
            "breaker": breaker.state,
            "totals": totals,
        }
        self._show(report, as_json=options["json"])
        if sums["dead"] or sums["held"]:
            raise CommandError("Usage is set aside: see `manage.py replay_usage --help`.", returncode=1)

    def _show(self, report: dict[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(orjson.dumps(report).decode())
            return
        totals = report.pop("totals")
        for name, value in report.items():
            self.stdout.write(f"{name:<20} {value}")
        for row in totals:
            self.stdout.write("  ".join(f"{name}={value}" for name, value in row.items()))


def _totals(hours: int, user: str) -> list[dict[str, Any]]:
    """Delivered usage by how its figures are known: exact and estimated are never added up."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    rows = HourlyTotal.objects.filter(hour__gte=since, **({"external_id": user} if user else {}))
    sums: dict[str, Any] = {f"sum_{name}": Sum(name) for name in _FIGURES}
    found: Any = rows.order_by("source").values("source").annotate(**sums)
    return [{"source": row["source"], **{name: row[f"sum_{name}"] for name in _FIGURES}} for row in found]
