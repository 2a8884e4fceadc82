"""What every command that changes something has in common: who does it, why, and the record of it."""

import getpass
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from limits.record import Operator

DONE_BUT_NOT_RECORDED = 3


def add_arguments(parser: CommandParser, *, why: str = "why you do this, for the record") -> None:
    """`--as`, `--reason` and `--dry-run`."""
    parser.add_argument("--as", "--who", dest="who", default=_me(), help=f"who does this, for the record ({_me()})")
    parser.add_argument("--reason", default="", help=why)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only show what would be done")


def operator(options: dict[str, Any]) -> Operator:
    """Who runs the command."""
    return Operator(options["who"], options["reason"])


def record(who: Operator, what: str) -> None:
    """Keep what was done. Raises CommandError with status 3 when the database does not take it; done it is anyhow."""
    try:
        who.did(what)
    except DatabaseError as error:
        message = f"Done, but not recorded ({error}): {who.who}: {what}"
        raise CommandError(message, returncode=DONE_BUT_NOT_RECORDED) from error


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "command line"
