"""Adding up Redis, database and Zion: equal on a healthy ledger, and each kind of tampering is found and named."""

import io
from datetime import timedelta
from typing import Any

import orjson
import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError

from limits import keys as limits_keys
from sentinel import config
from sentinel.lib.redis import ledger as connect
from sentinel.zion.schemas import ZionUnavailable
from tests.servers import free_port
from tests.usage.ledger import Books, admit, call, settle
from tests.usage.make import SHARD, UNCLEAR, FakeZion, Step, make_due, make_event, make_terms
from usage import history, keys, outbox
from usage.flush import flush
from usage.models import BatchRecord, CallRecord, HourlyTotal
from usage.resolution import Place
from usage.values import Source
from usage.verify_rounds import Verdict, Verification

pytestmark = [pytest.mark.usefixtures("ledger"), pytest.mark.django_db]
USER = "ext-ada"


@pytest.fixture
def books() -> Books:
    """A ledger with everything in it: delivered calls, one open, one that waits, one that is held, a dead letter."""
    made = Books()
    for user in ("ada", "dora", "eli"):
        made.know(f"ext-{user}", input=7)
    made.add(call(), call(source=Source.ESTIMATE), call("dora"))
    flush(SHARD, FakeZion(), make_terms())
    history.write(SHARD)
    call("eli")
    for _ in range(5):
        flush(SHARD, FakeZion(unknown=["eli@example.com"]), make_terms())
        make_due()
    call()
    flush(SHARD, FakeZion(Step(answer=UNCLEAR)), make_terms(honours_keys=False))
    call()
    admit(make_event(call_id="open"))
    return made


def verify(books: Books | None, *only: str, rounds: int = 6) -> Verdict:
    return Verification(SHARD, books, lambda _what, _count: None, rounds, 0.0).run(only)


def named(verdict: Verdict) -> set[tuple[str, str, str]]:
    return {(each.check, each.external_id, each.where) for each in verdict.differences}


def command(*args: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and JSON lines."""
    out, status = io.StringIO(), 0
    try:
        call_command("verify_ledger", "--offline", "--pause", "0", "--json", *args, stdout=out)
    except CommandError as error:
        status = error.returncode
    return status, [orjson.loads(line) for line in out.getvalue().splitlines()]


def test_a_healthy_ledger_with_everything_under_way_is_equal(books: Books) -> None:
    verdict = verify(books)

    assert (verdict.differences, verdict.busy, verdict.users, verdict.unreadable) == ([], [], 3, 0)
    assert verdict.in_doubt == {USER: {"ai_usage.input": 10, "ai_usage.output": 5, "ai_usage.requests": 1}}
    assert (outbox.ids(SHARD, Place.HELD), outbox.ids(SHARD, Place.DEAD)) != ([], [])


def test_what_is_in_doubt_may_be_in_zions_figure(books: Books) -> None:
    books.used[USER]["output"] += 5

    assert verify(books).differences == []


@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("ai_usage.output:held", "held"),
        ("ai_usage.requests:pending", "pending"),
        ("active", "active"),
        ("ai_usage.output:doubt", "doubt"),
        ("ai_usage.input:used", "zion"),
    ],
)
def test_a_figure_of_the_hash_that_was_changed_is_named(
    books: Books, ledger: redis.Redis, field: str, check: str
) -> None:
    ledger.hincrby(limits_keys.user(USER), field, 1)

    verdict = verify(books)

    assert named(verdict) == {(check, USER, field)}
    assert verdict.differences[0].found == verdict.differences[0].expected + 1


def test_an_open_call_that_vanished_leaves_its_holds_behind(books: Books, ledger: redis.Redis) -> None:
    ledger.delete(limits_keys.call(SHARD, "open"))

    assert {check for check, _, _ in named(verify(books))} == {"active", "held"}


def test_an_open_call_without_a_lease_is_named(books: Books, ledger: redis.Redis) -> None:
    ledger.zrem(limits_keys.leases(SHARD), "open")

    assert named(verify(books)) == {("lease", USER, "open")}


def test_an_event_that_vanished_from_the_stream_is_missed(books: Books, ledger: redis.Redis) -> None:
    ledger.xtrim(keys.stream(SHARD), 0, approximate=False)

    assert {(check, where) for check, _, where in named(verify(books))} == {
        ("pending", f"ai_usage.{metric}:pending") for metric in ("input", "output", "requests")
    }


@pytest.mark.parametrize(("place", "user"), [(Place.HELD, USER), (Place.DEAD, "ext-eli")])
def test_a_batch_that_vanished_is_missed(books: Books, ledger: redis.Redis, place: Place, user: str) -> None:
    (batch_id,) = outbox.ids(SHARD, place)
    ledger.delete(keys.batch(SHARD, batch_id))

    assert {(check, whose) for check, whose, _ in named(verify(books))} >= {("pending", user)}


def test_a_user_whose_hash_vanished_is_named(books: Books, ledger: redis.Redis) -> None:
    ledger.delete(limits_keys.user("ext-eli"))

    assert ("pending", "ext-eli", "ai_usage.output:pending") in named(verify(books))


def test_a_call_that_is_delivered_and_waits_again_is_named(books: Books) -> None:
    delivered = CallRecord.objects.filter(external_id="ext-dora").get()
    event = make_event("dora", call_id=delivered.call_id)
    settle(event)
    assert verify(books).differences == []  # its marker keeps it out

    connect().delete(limits_keys.call(SHARD, event.call_id))
    settle(event)
    assert verify(books).differences == []  # marked as returned: the next pass drops it

    connect().xadd(keys.stream(SHARD), {"c": event.call_id, "e": event.to_json(), "q": ""})
    assert ("twice", "ext-dora", event.call_id) in named(verify(books))


def test_zion_that_knows_less_more_or_nobody_is_named(books: Books) -> None:
    books.used["ext-dora"]["output"] -= 1
    books.used[USER]["requests"] += 2  # one is in doubt
    del books.used["ext-eli"]

    assert named(verify(books)) == {
        ("zion", "ext-dora", "ai_usage.output:used"),
        ("zion", USER, "ai_usage.requests:used"),
        ("zion", "ext-eli", "user"),
    }
    assert verify(None).differences == []


def test_only_the_user_who_is_asked_for_is_looked_at(books: Books, ledger: redis.Redis) -> None:
    for user in (USER, "ext-dora"):
        ledger.hincrby(limits_keys.user(user), "active", 1)

    verdict = verify(books, "ext-dora")

    assert (named(verdict), verdict.users) == ({("active", "ext-dora", "active")}, 1)


def test_a_user_who_never_stands_still_is_busy_and_not_guilty(books: Books, ledger: redis.Redis) -> None:
    class Restless(Books):
        used = books.used

        def __init__(self) -> None:
            """The same books, and a call after every question."""

        def fetch_limits(self, external_id: str) -> Any:
            ledger.hincrby(limits_keys.user(USER), "active", 1)
            return super().fetch_limits(external_id)

    ledger.hincrby(limits_keys.user(USER), "active", 1)
    verdict = verify(Restless())

    assert (verdict.differences, verdict.busy) == ([], [USER])


def test_junk_in_the_stream_is_counted_and_breaks_nothing(books: Books, ledger: redis.Redis) -> None:
    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"\xff"})

    verdict = verify(books)

    assert (verdict.differences, verdict.unreadable) == ([], 1)


def test_the_command_does_not_call_a_ledger_equal_that_it_could_not_read_whole(
    books: Books, ledger: redis.Redis
) -> None:
    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"\xff"})

    status, lines = command()

    assert (status, lines[-1]["differences"], lines[-1]["unreadable"]) == (2, 0, 1)


def test_the_command_says_that_all_is_equal_and_shows_the_classes_apart(books: Books) -> None:
    status, lines = command()

    assert status == 0
    assert lines[-1] == {"kind": "summary", "users": 3, "differences": 0, "busy": 0, "unreadable": 0}
    classes = {(line["external_id"], line["source"]): line["calls"] for line in lines if line["kind"] == "class"}
    assert classes == {(USER, "provider"): 1, (USER, "estimate"): 1, ("ext-dora", "provider"): 1}


def test_the_command_shows_differences_to_people(books: Books, ledger: redis.Redis) -> None:
    ledger.hincrby(limits_keys.user(USER), "active", 1)
    out = io.StringIO()

    with pytest.raises(CommandError, match="1 differences") as caught:
        call_command("verify_ledger", "--offline", "--pause", "0", "--user", USER, stdout=out)

    assert caught.value.returncode == 1
    first, *_, last = out.getvalue().splitlines()
    assert first == f"difference  check=active  external_id={USER}  where=active  expected=1  found=2"
    assert last == "summary  users=1  differences=1  busy=0  unreadable=0"


def test_an_hourly_total_that_was_changed_is_named(books: Books) -> None:
    total = HourlyTotal.objects.filter(external_id="ext-dora").get()
    total.output += 1
    total.save()

    status, lines = command()

    assert status == 1
    (line,) = [line for line in lines if line["kind"] == "difference"]
    assert (line["check"], line["external_id"], line["expected"], line["found"]) == ("hour", "ext-dora", 5, 6)
    assert line["where"].endswith("gpt-4o provider output")


def test_a_missing_row_of_a_call_is_missed_by_its_batch_and_its_hour(books: Books) -> None:
    CallRecord.objects.filter(external_id="ext-dora").delete()

    status, lines = command()

    found = [(line["check"], line["expected"], line["found"]) for line in lines if line["kind"] == "difference"]
    assert status == 1
    assert ("batch", 3, 2) in found
    assert ("hour", 0, 1) in found


def test_a_batch_that_is_not_in_the_totals_is_named(books: Books) -> None:
    BatchRecord.objects.update(is_counted=False)

    status, lines = command()

    (line,) = [line for line in lines if line["kind"] == "difference"]
    assert (status, line["check"], line["hint"]) == (1, "batch", "is not in the totals")


def test_rows_that_the_retention_took_are_not_missed(books: Books) -> None:
    total = HourlyTotal.objects.filter(external_id="ext-dora").get()
    HourlyTotal.objects.update(hour=total.hour - timedelta(days=200))
    CallRecord.objects.all().delete()
    BatchRecord.objects.all().delete()

    assert command()[0] == 0


def test_a_redis_or_a_zion_that_does_not_answer_is_not_equal(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(Books):
        def fetch_limits(self, external_id: str) -> Any:
            raise ZionUnavailable(external_id)

    with pytest.raises(ZionUnavailable):
        verify(Away())

    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    connect.cache_clear()
    config.get.cache_clear()
    assert command()[0] == 2
