"""manage.py replay_usage failed|held|dead: make batches due again, or end their wait."""

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import DatabaseError

from limits.management import operator
from limits.record import Operator
from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from usage import intervene, replay
from usage.intervene import Found
from usage.replay import Filter

_EACH = 1000


class Command(BaseCommand):
    help = (
        "Put batches that failed, are held or are dead back as due; the next pass sends them. Held ones may have been "
        "applied: look at Zion first, then send them again, or book them with --applied. "
        "Exit status: 0 when all that were found were dealt with, 1 when some were not, 2 when Redis or the database "
        "cannot be reached, 3 when all is done but could not be recorded."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("which", choices=["failed", "held", "dead"], help="which batches")
        parser.add_argument("--user", default="", help="only of this user: external id, user id or e-mail")
        parser.add_argument("--batch", default="", help="only this batch")
        parser.add_argument("--match", default="", help="only those whose recorded reason contains this")
        parser.add_argument("--older-than", type=float, default=0.0, metavar="SECONDS", help="only those sealed before")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--applied", action="store_true", help="held only: book as applied, send nothing")
        how.add_argument("--discard", action="store_true", help="held, dead: never report it; its row stays")
        how.add_argument("--new-email", default="", metavar="ADDRESS", help="dead only: the user's address changed")
        parser.add_argument("--json", action="store_true", help="one JSON object per batch")
        operator.add_arguments(parser, why="why you do this; required for held and for --discard")

    def handle(self, *_args: Any, **options: Any) -> None:
        _check(options)
        wanted = Filter(options["user"], options["batch"], options["match"], options["older_than"])
        found = failed = 0
        try:
            for shard in range(config.get().usage_shards):
                for batch in replay.find(shard, options["which"], wanted):
                    found += 1
                    failed += not self._deal_with(Found(shard, batch), options)
                    if found % _EACH == 0:
                        self.stderr.write(f"{found} batches, {failed} left alone")
        except RedisUnavailable as error:
            raise CommandError(str(error), returncode=2) from error
        if not options["json"]:
            self.stdout.write(f"{found} found, {failed} not replayed" + (" (dry run)" if options["dry_run"] else ""))
        if failed:
            raise CommandError(f"{failed} moved meanwhile, or still cannot be read.", returncode=1)

    def _deal_with(self, found: Found, options: dict[str, Any]) -> bool:
        batch, is_done = found.batch, True
        if not options["dry_run"]:
            try:
                is_done = _act(options)(found, operator.operator(options))
            except DatabaseError as error:
                raise CommandError(f"{batch.id}: the database: {error}", returncode=2) from error
        report = {
            "batch": batch.id,
            "users": sorted({item.external_id for item in batch.items}),
            "calls": len(batch.members),
            "tries": batch.tries,
            "reason": batch.reason,
            "done": is_done and not options["dry_run"],
        }
        line = orjson.dumps(report).decode() if options["json"] else "  ".join(f"{k}={v}" for k, v in report.items())
        self.stdout.write(line)
        return is_done


def _act(options: dict[str, Any]) -> Callable[[Found, Operator], bool]:
    if options["applied"]:
        return intervene.release
    if options["discard"]:
        return intervene.discard
    if options["new_email"]:
        return partial(_rekey, options["new_email"])
    return intervene.retry


def _rekey(email: str, found: Found, who: Operator) -> bool:
    return intervene.rekey(found, email, who)


def _check(options: dict[str, Any]) -> None:
    """Raises CommandError for options that do not go together."""
    which = options["which"]
    if not options["reason"] and not options["dry_run"]:
        if which == "held":
            raise CommandError("Held usage may have been applied already: say with --reason why it is safe.")
        if options["discard"]:
            raise CommandError("Discarded usage is never reported: say with --reason why.")
    if options["applied"] and which != "held":
        raise CommandError("--applied is for held batches.")
    if options["discard"] and which == "failed":
        raise CommandError("--discard is for held and dead batches: one that only failed is still tried.")
    if options["new_email"]:
        _check_address(options)


def _check_address(options: dict[str, Any]) -> None:
    if options["which"] != "dead" or not (options["user"] or options["batch"]):
        raise CommandError("--new-email is for dead batches of one user: name --user or --batch.")
    try:
        validate_email(options["new_email"])
    except ValidationError as error:
        raise CommandError("--new-email: not an e-mail address") from error
