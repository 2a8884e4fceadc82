"""manage.py revoke: have a user's tokens validated again, or refuse the user until further notice."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from limits import operate
from limits.management import operator
from sentinel.lib.redis import RedisUnavailable


class Command(BaseCommand):
    """Exact: no call is admitted with an older validation once this has returned."""

    help = (
        "Revoke a user's tokens (Zion is asked again about each), block or unblock the user, or end open streams. "
        "Exit status: 0 done, 2 Redis cannot be reached and nothing was changed, 3 done but not recorded."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("external_id", help="Zion's external id of the user")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--block", metavar="REASON", help="refuse the user, whatever Zion says, until --unblock")
        which.add_argument("--end-streams", action="store_true", help="end the user's open streams; each is metered")
        which.add_argument("--unblock", action="store_true", help="lift a block")
        parser.add_argument("--json", action="store_true", help="answer as JSON")
        operator.add_arguments(parser)  # type: ignore[arg-type]  # Django's parser is one

    def handle(self, *, external_id: str, block: str | None, unblock: bool, **options: Any) -> None:
        what = "unblock" if unblock else "revoke" if block is None else "block"
        what = "end the streams" if options["end_streams"] else what
        try:
            done = f"would {what}" if options["dry_run"] else _act(what, external_id, block or "")
        except RedisUnavailable as error:
            raise CommandError(f"Nothing was changed: {error}", returncode=2) from error
        answer = {"external_id": external_id, "result": done}
        self.stdout.write(json.dumps(answer) if options["json"] else f"{external_id}: {done}")
        if not options["dry_run"]:
            who = operator.operator({**options, "reason": options["reason"] or block or ""})
            operator.record(who, f"{what} of {external_id}" if options["end_streams"] else f"{what} {external_id}")


def _act(what: str, external_id: str, reason: str) -> str:
    if what == "unblock":
        return "unblocked" if operate.unblock(external_id) else "was not blocked"
    if what == "block":
        operate.block(external_id, reason)
        return "blocked"
    if what == "end the streams":
        operate.end_streams(external_id)
        return "streams are ended"
    operate.revoke(external_id)
    return "revoked"
