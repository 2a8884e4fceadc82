"""Reading what is under way: what moves meanwhile counts once, and what cannot be read is said."""

import io

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError

from limits import keys as limits_keys
from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from sentinel.lib.redis import ledger as connect
from tests.servers import free_port
from tests.usage.ledger import Books, call
from tests.usage.make import SHARD, UNCLEAR, FakeZion, Step, make_entry, make_event, make_terms
from usage import keys, outbox
from usage.flush import flush
from usage.management.commands.verify_ledger import Command
from usage.resolution import Place
from usage.verify import Standing
from usage.verify_read import Reading, accounts, read, users

pytestmark = [pytest.mark.usefixtures("ledger"), pytest.mark.django_db]
USER = "ext-ada"
AT = ("ai_usage.output", 0)


def test_an_event_that_moves_into_a_batch_while_we_read_counts_once_and_one_that_is_twice_is_named() -> None:
    reading, event = Reading(), make_event()
    entry = make_entry(event, "1-1", "ai_usage.output|0|5")

    reading.add_waiting([entry], Standing.ABSENT)
    reading.add_waiting([entry], Standing.DOUBTED)
    assert (reading.flights[USER].pending[AT], reading.flights[USER].again) == (5, set())

    reading.add_waiting([make_entry(event, "2-1", "ai_usage.output|0|5")], Standing.ABSENT)
    assert (reading.flights[USER].pending[AT], reading.flights[USER].again) == (10, {event.call_id})


def test_a_batch_that_was_applied_while_we_read_is_no_longer_under_way(ledger: redis.Redis) -> None:
    Books().know(USER)
    call()
    flush(SHARD, FakeZion(Step(answer=UNCLEAR)), make_terms(honours_keys=True))
    (batch_id,) = outbox.ids(SHARD, Place.BATCHES)
    assert read(SHARD, print).flights[USER].in_doubt[AT] == 5

    ledger.hset(keys.batch(SHARD, batch_id), "state", "applied")
    assert read(SHARD, print).flights[USER].in_doubt[AT] == 0


def test_a_redis_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    connect.cache_clear()

    for reading in (lambda: read(SHARD, print), lambda: list(users(SHARD)), lambda: accounts([USER])):
        with pytest.raises(RedisUnavailable):
            reading()


def test_a_difference_that_was_seen_only_once_is_nobodys_fault_but_not_equal(ledger: redis.Redis) -> None:
    Books().know(USER)
    ledger.hincrby(limits_keys.user(USER), "active", 1)
    out = io.StringIO()

    with pytest.raises(CommandError, match="never stood still") as caught:
        call_command("verify_ledger", "--offline", "--rounds", "1", stdout=out)

    assert caught.value.returncode == 2
    assert f"busy  user={USER}" in out.getvalue()


def test_long_work_tells_how_far_it_is_beside_the_answer() -> None:
    out, err = io.StringIO(), io.StringIO()
    command = Command(stdout=out, stderr=err)
    command._told = float("-inf")

    command._progress("users looked at", 500)
    command._progress("users looked at", 501)

    assert (out.getvalue(), err.getvalue()) == ("", "500 users looked at\n")
