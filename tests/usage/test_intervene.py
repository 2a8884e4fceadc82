"""The operator's decisions as commands: what each needs, what it records, which exit status it ends with."""

import io
from typing import Any

import orjson
import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError

from limits.record import acted
from tests.admin.batches import dead, failed, held
from tests.usage.make import SHARD, FakeZion, make_terms, quota, user_key
from usage import intervene, outbox
from usage.flush import flush
from usage.models import DeadLetter, OperatorAction
from usage.resolution import Place

pytestmark = [pytest.mark.usefixtures("ledger"), pytest.mark.django_db]


def replay(*args: str) -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command("replay_usage", *args, "--json", stdout=out)
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def test_a_dead_batch_is_rekeyed_from_the_command_line_and_delivered() -> None:
    batch_id = dead("eli")

    (line,) = replay(
        "dead", "--user", "ext-eli", "--new-email", "elias@example.com", "--as", "otto", "--reason", "moved"
    )
    zion = FakeZion()
    flush(SHARD, zion, make_terms())

    assert (line["batch"], line["done"]) == (batch_id, True)
    assert zion.booked["elias@example.com", "requests"] == 1
    done = OperatorAction.objects.get()
    assert (done.who, done.what, done.why) == ("otto", f"re-key dead {batch_id} to elias@example.com", "moved")


@pytest.mark.parametrize(("make", "which"), [(held, "held"), (dead, "dead")])
def test_discarded_usage_gives_its_quota_back(make: Any, which: str) -> None:
    make("eli")

    replay(which, "--discard", "--reason", "agreed")

    assert quota("ext-eli", "requests") == {"used": 0, "pending": 0}
    assert DeadLetter.objects.get().resolution == "discarded"


def test_what_was_in_doubt_is_not_after_a_discard(ledger: redis.Redis) -> None:
    held("ada")
    replay("held", "--discard", "--reason", "agreed")

    fields: Any = ledger.hgetall(user_key("ext-ada"))

    assert [name for name in fields if name.endswith((b":doubt", b":zion", b":pending"))] == []
    assert fields[b"refresh_due"] == b"1"


def test_discarding_a_dead_letter_that_cannot_be_read_forgets_it(ledger: redis.Redis) -> None:
    from usage import history, keys

    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"junk"})
    flush(SHARD, FakeZion(), make_terms())
    history.note_set_aside()

    replay("dead", "--discard", "--reason", "it never was usage")

    assert outbox.ids(SHARD, Place.DEAD) == []
    assert DeadLetter.objects.get().payload["events"] == ["junk"]


@pytest.mark.parametrize(
    "args",
    [
        ["failed", "--discard", "--reason", "x"],
        ["dead", "--discard"],
        ["held", "--discard"],
        ["dead", "--new-email", "a@example.com"],
        ["failed", "--user", "ext-ada", "--new-email", "a@example.com"],
        ["dead", "--user", "ext-ada", "--new-email", "nowhere"],
        ["dead", "--discard", "--applied", "--reason", "x"],
    ],
)
def test_options_that_do_not_go_together_are_refused(args: list[str]) -> None:
    with pytest.raises(CommandError):
        replay(*args)

    assert not OperatorAction.objects.exists()


def test_a_dry_run_changes_and_records_nothing() -> None:
    batch_id = dead("eli")

    (line,) = replay("dead", "--user", "ext-eli", "--new-email", "elias@example.com", "--dry-run")

    assert (line["batch"], line["done"]) == (batch_id, False)
    assert outbox.ids(SHARD, Place.DEAD) == [batch_id]
    assert not OperatorAction.objects.exists()


def test_a_batch_that_moved_meanwhile_is_left_alone() -> None:
    from limits.record import Operator

    failed("ada")
    found = intervene.locate(outbox.ids(SHARD, Place.BATCHES)[0])
    assert found
    assert outbox.due(SHARD, 1)[1] == [] or outbox.claim(SHARD, found.batch.id, 10)
    who = Operator("otto")
    intervene.retry(found, who)
    flush(SHARD, FakeZion(), make_terms())

    assert not intervene.retry(found, who)
    assert not intervene.release(found, who)
    assert not intervene.discard(found, who)
    assert not intervene.rekey(found, "a@example.com", who)
    assert intervene.locate("no-such-batch") is None


def test_a_database_that_fails_is_said_with_status_2() -> None:
    dead("eli")

    def fail(**_: Any) -> None:
        raise DatabaseError("disk full")

    acted.connect(fail)
    try:
        with pytest.raises(CommandError, match="disk full") as failed_with:
            replay("dead")
    finally:
        acted.disconnect(fail)

    assert failed_with.value.returncode == 2
