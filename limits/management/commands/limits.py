"""manage.py limits show | refresh | purge: what admission knows about one user."""

import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from limits import operate
from limits.management import operator
from sentinel.lib.redis import RedisUnavailable
from sentinel.zion.schemas import ZionError


class Command(BaseCommand):
    """Holds and unconfirmed usage are never touched."""

    help = (
        "Show a user's limits as admission sees them, fetch them from Zion now, or have the next call fetch them. "
        "Exit status: 0 done, 1 Zion did not say, 2 Redis cannot be reached, 3 done but not recorded."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=("show", "refresh", "purge"))
        parser.add_argument("external_id", help="Zion's external id of the user")
        parser.add_argument("--json", action="store_true", help="answer as JSON")
        operator.add_arguments(parser)  # type: ignore[arg-type]  # Django's parser is one

    def handle(self, *, action: str, external_id: str, **options: Any) -> None:
        changes = action != "show" and not options["dry_run"]
        try:
            if changes:
                (operate.purge if action == "purge" else operate.refresh)(external_id)
            state = operate.state_of(external_id)
        except ZionError as error:
            raise CommandError(f"Zion did not say: {error}", returncode=1) from error
        except RedisUnavailable as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(json.dumps(state.as_dict()) if options["json"] else _page(state))
        if changes:
            operator.record(operator.operator(options), f"limits {action} {external_id}")


def _page(state: operate.UserState) -> str:
    lines = [f"{state.external_id}: no limits are cached; the next call fetches them."]
    if state.is_known:
        lines = [f"{state.external_id}: read from Zion {_time(state.fetched_ms)}, {state.open_calls} open call(s)"]
    if state.blocked:
        lines.append(f"BLOCKED: {state.blocked}")
    if state.revoked_ms:
        lines.append(f"tokens validated before {_time(state.revoked_ms)} are validated again")
    if not state.is_known:
        return "\n".join(lines)
    if not state.quotas:
        return "\n".join([*lines, "no quota: every metric is unlimited"])
    lines.append(f"{'quota':<28}{'limit':>14}{'used':>14}{'unconfirmed':>14}{'held':>12}{'free':>14}  resets")
    for q in state.quotas:
        reset = _time(q.period_end_ms) if q.period_end_ms else "never"
        lines.append(f"{q.quota:<28}{q.limit:>14}{q.used:>14}{q.pending:>14}{q.held:>12}{q.free:>14}  {reset}")
    return "\n".join(lines)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
