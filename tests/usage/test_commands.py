"""The operator's commands."""

import io
from typing import Any

import orjson
import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError

from sentinel import config
from tests.servers import free_port
from tests.usage.make import (
    REJECTED,
    SHARD,
    UNCLEAR,
    FakeZion,
    Step,
    make_due,
    make_event,
    make_terms,
    quota,
    settle,
)
from usage import history, keys, outbox
from usage.flush import flush
from usage.models import DeadLetter, OperatorAction
from usage.resolution import Place

pytestmark = [pytest.mark.usefixtures("ledger"), pytest.mark.django_db]


def run(*args: str) -> list[dict[str, Any]]:
    """The JSON lines of a command, whatever its exit status."""
    out = io.StringIO()
    try:
        call_command(*args, "--json", stdout=out)
    except CommandError as error:
        if error.returncode != 1:
            raise
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def put_held() -> str:
    settle(make_event())
    flush(SHARD, FakeZion(Step(applies=True, answer=UNCLEAR)), make_terms(honours_keys=False))
    history.note_set_aside()
    (batch_id,) = outbox.ids(SHARD, Place.HELD)
    return batch_id


def put_dead() -> str:
    settle(make_event("eli"))
    for _ in range(5):
        flush(SHARD, FakeZion(unknown=["eli@example.com"]), make_terms())
        make_due()
    history.note_set_aside()
    (batch_id,) = outbox.ids(SHARD, Place.DEAD)
    return batch_id


def test_held_usage_is_replayed_only_with_a_reason() -> None:
    put_held()

    with pytest.raises(CommandError, match="--reason"):
        call_command("replay_usage", "held")
    (line,) = run("replay_usage", "held", "--reason", "Zion's books show nothing")
    zion = FakeZion()
    flush(SHARD, zion, make_terms(honours_keys=False))

    assert line["done"]
    assert zion.total("requests") == 1
    assert OperatorAction.objects.get().why == "Zion's books show nothing"
    assert "replay held" in str(OperatorAction.objects.get())
    assert DeadLetter.objects.get().resolved_at is not None


def test_held_usage_that_zion_has_is_booked_without_sending() -> None:
    put_held()

    run("replay_usage", "held", "--applied", "--reason", "it is in Zion's books")

    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}
    assert (len(outbox.ids(SHARD, Place.DELIVERED)), outbox.ids(SHARD, Place.HELD)) == (1, [])


def test_only_held_usage_can_be_booked_as_applied() -> None:
    with pytest.raises(CommandError, match="held"):
        call_command("replay_usage", "dead", "--applied")


def test_dead_usage_is_replayed_under_a_new_key_and_delivered() -> None:
    old = put_dead()

    run("replay_usage", "dead", "--user", "eli@example.com")
    zion = FakeZion()
    flush(SHARD, zion, make_terms())

    assert zion.total("requests") == 1
    assert old not in zion.bodies
    assert quota("ext-eli", "requests") == {"used": 1, "pending": 0}


def test_a_batch_that_failed_becomes_due_at_once() -> None:
    settle(make_event())
    flush(SHARD, FakeZion(Step(applies=False, answer=UNCLEAR)), make_terms())

    run("replay_usage", "failed")
    zion = FakeZion()
    flush(SHARD, zion, make_terms())

    assert zion.total("requests") == 1


def test_a_batch_that_zion_may_have_is_never_sent_under_another_key_because_somebody_retried_it() -> None:
    settle(make_event())
    zion = FakeZion(Step(applies=True, answer=UNCLEAR), Step(applies=False, answer=REJECTED))
    flush(SHARD, zion, make_terms())

    (line,) = run("replay_usage", "failed")
    flush(SHARD, zion, make_terms())
    make_due()
    flush(SHARD, zion, make_terms())

    assert line["done"]
    assert len({key for _, key, _ in zion.sent}) == 1
    assert zion.total("requests") == 1
    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}


@pytest.mark.parametrize(
    "narrowed", [["--user", "ext-ada"], ["--batch", "x"], ["--match", "nope"], ["--older-than", "9999"], ["--dry-run"]]
)
def test_filters_and_dry_run_leave_the_rest_alone(narrowed: list[str]) -> None:
    put_dead()

    run("replay_usage", "dead", *narrowed)

    assert len(outbox.ids(SHARD, Place.DEAD)) == 1


def test_an_unreadable_event_stays_dead_and_the_exit_status_says_so(ledger: redis.Redis) -> None:
    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"junk"})
    flush(SHARD, FakeZion(), make_terms())

    with pytest.raises(CommandError, match="cannot be read") as failed:
        call_command("replay_usage", "dead", stdout=io.StringIO())

    assert failed.value.returncode == 1


def test_the_summary_shows_backlog_states_breaker_and_totals() -> None:
    put_dead()
    put_held()
    settle(make_event("dora"))

    (report,) = run("usage_summary", "--user", "ext-ada")

    assert (report["events"], report["dead"], report["held"], report["breaker"]) == (1, 1, 1, "closed")
    text = io.StringIO()
    with pytest.raises(CommandError, match="set aside"):
        call_command("usage_summary", stdout=text)
    assert "oldest_age_seconds" in text.getvalue()


def test_the_summary_adds_up_what_was_delivered() -> None:
    from time import time

    settle(make_event(admitted_ms=int(time() * 1000)))
    flush(SHARD, FakeZion(), make_terms())
    history.write(SHARD)

    (report,) = run("usage_summary")
    call_command("usage_summary", stdout=io.StringIO())

    assert report["totals"] == [{"source": "provider", "calls": 1, "input": 10, "output": 5, "requests": 1}]


def test_flush_shows_what_waits_without_sending_and_what_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZION_API_URL", f"http://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    settle(make_event())

    (looked,) = run("flush_usage", "--dry-run")
    (tried,) = run("flush_usage", "--seconds", "1")
    out = io.StringIO()
    call_command("flush_usage", "--dry-run", stdout=out)

    assert (looked["events"], looked["sent"]) == (1, 0)
    assert (tried["sealed"], tried["sent"], tried["not_applied"], tried["batches"]) == (1, 1, 1, 1)
    assert "batches=1" in out.getvalue()


@pytest.mark.parametrize("command", [["flush_usage"], ["replay_usage", "dead"], ["usage_summary"]])
def test_without_redis_each_says_so_with_status_2(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from sentinel.lib.redis import ledger as connect

    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    connect.cache_clear()

    with pytest.raises(CommandError, match="Redis") as failed:
        call_command(*command, stdout=io.StringIO())

    assert failed.value.returncode == 2


def test_flush_says_when_due_usage_is_left() -> None:
    settle(make_event())
    breaker = make_terms().breaker
    breaker.report(breaker.admit().token, "trip")

    with pytest.raises(CommandError, match="is left") as failed:
        call_command("flush_usage", stdout=io.StringIO())

    assert failed.value.returncode == 1
