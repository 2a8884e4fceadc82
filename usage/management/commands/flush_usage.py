"""manage.py flush_usage: deliver now what waits, and say what happened."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from limits.management import operator
from sentinel import config
from sentinel.lib.clock import monotonic
from sentinel.lib.redis import RedisUnavailable
from sentinel.zion.client import Zion
from usage import backlog, history
from usage.flush import Summary, flush
from usage.send import terms_of

_PASS_SECONDS = 5.0


class Command(BaseCommand):
    help = (
        "Deliver waiting usage to Zion now and show what happened. "
        "Exit status: 0 when nothing that is due is left, 1 when something is, 2 when Redis or the database "
        "cannot be reached, 3 when it could not be recorded."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=60.0, help="longest time to spend per shard (60)")
        parser.add_argument("--json", action="store_true", help="one JSON object per shard")
        operator.add_arguments(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        settings = config.get()
        is_left = False
        for shard in range(settings.usage_shards):
            try:
                report = {"shard": shard} | self._work(shard, settings, options)
            except (RedisUnavailable, DatabaseError) as error:
                raise CommandError(str(error), returncode=2) from error
            is_left = is_left or bool(report["events"] or report["due"])
            self._show(report, as_json=options["json"])
        if options["dry_run"]:
            return
        operator.record(operator.operator(options), "flush usage")
        if is_left:
            raise CommandError("Usage that is due is left; see `stopped`.", returncode=1)

    def _work(self, shard: int, settings: config.Config, options: dict[str, Any]) -> dict[str, Any]:
        done = asdict(Summary()) if options["dry_run"] else self._deliver(shard, settings, options["seconds"])
        return done | {**asdict(backlog.look(shard)), "due": backlog.due(shard)}

    def _deliver(self, shard: int, settings: config.Config, seconds: float) -> dict[str, Any]:
        """One pass after the other, with a word after each, until nothing is due or the time is up."""
        zion, terms, deadline = Zion(settings), terms_of(settings), monotonic() + seconds
        done, stopped, is_over = Counter[str](), "", False
        while not is_over:
            ends = min(deadline, monotonic() + _PASS_SECONDS)
            figures = asdict(flush(shard, zion, terms, budget_seconds=ends - monotonic()))
            stopped = figures.pop("stopped")
            done.update(figures)
            history.write(shard)
            # A pass that ends early has nothing left to do, unless it only waits for a permit beyond its own time.
            is_over = monotonic() >= deadline or (monotonic() < ends and stopped != "permits")
            if not is_over:
                self.stderr.write(f"shard {shard}: {done['sent']} sent, {done['applied']} applied")
        history.note_set_aside()
        return {**done, "stopped": stopped}

    def _show(self, report: dict[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(orjson.dumps(report).decode())
            return
        self.stdout.write("  ".join(_words(report.items())))


def _words(figures: Iterable[tuple[str, Any]]) -> list[str]:
    return [
        f"{name}={round(value, 1) if isinstance(value, float) else value}" for name, value in figures if value != ""
    ]
