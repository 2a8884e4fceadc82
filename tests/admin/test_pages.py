"""What operators see of batches and history: the live queue, one batch in full, letters, the rows."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sentinel import config
from sentinel.lib.redis import ledger as connect
from tests.admin.batches import dead, failed, held
from tests.servers import free_port
from tests.usage.make import SHARD, FakeZion, make_event, make_terms, settle
from usage import history, keys, queue
from usage.flush import flush
from usage.models import BatchRecord, CallRecord, DeadLetter, OperatorAction
from usage.resolution import Place
from usage.values import Details

QUEUE = "/admin/usage/queuedbatch/"
LIVE = [QUEUE, f"{QUEUE}?place=held", f"{QUEUE}?place=dead", f"{QUEUE}?place=delivered"]
HISTORY = [
    f"/admin/usage/{name}/" for name in ("callrecord", "batchrecord", "deadletter", "hourlytotal", "operatoraction")
]


def page_of(client: Client, url: str) -> str:
    found = client.get(url)
    assert found.status_code == 200, found.status_code
    return found.content.decode()


def test_the_queue_shows_a_failed_batch_with_its_error_and_next_try(olivia: Client) -> None:
    batch_id = failed()

    page = page_of(olivia, QUEUE)

    assert batch_id[:12] in page
    assert "connection refused" in page
    assert "Waiting (1)" in page
    assert "Retry now" in page


@pytest.mark.parametrize(("make", "place", "act"), [(held, "held", "Release as applied"), (dead, "dead", "Re-key")])
def test_what_was_set_aside_is_in_its_place_and_offers_its_ways_out(
    olivia: Client, make: Callable[[], str], place: str, act: str
) -> None:
    batch_id = make()

    listed, shown = page_of(olivia, f"{QUEUE}?place={place}"), page_of(olivia, f"{QUEUE}{batch_id}/")

    assert batch_id[:12] in listed
    assert act in shown


def test_times_are_written_to_the_second_on_every_page(olivia: Client) -> None:
    OperatorAction.objects.create(who="otto", what="x")
    OperatorAction.objects.update(at=datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC))

    assert "2026-11-23 18:04:05" in page_of(olivia, "/admin/usage/operatoraction/")


def test_a_batch_page_shows_items_calls_evidence_and_bytes(olivia: Client) -> None:
    batch_id = held()

    page = page_of(olivia, f"{QUEUE}{batch_id}/")

    for part in (
        "ada@example.com",
        "Evidence",
        "its sender never reported back",
        "aiInputTokens",
        "provider",
        batch_id,
    ):
        assert part in page


def test_a_batch_that_was_delivered_leads_to_its_row(olivia: Client) -> None:
    settle(make_event())
    flush(SHARD, FakeZion(), make_terms())
    history.write(SHARD)
    row = BatchRecord.objects.get()

    page = page_of(olivia, f"{QUEUE}{row.batch_id}/")

    assert f"/admin/usage/batchrecord/{row.pk}/change/" in page


def test_a_batch_is_found_by_its_id(olivia: Client) -> None:
    assert olivia.get(f"{QUEUE}?q=abc123").headers["Location"] == f"{QUEUE}abc123/"
    assert olivia.get(f"{QUEUE}?q=../x").headers["Location"] == QUEUE
    assert olivia.get(f"{QUEUE}abc123/").status_code == 404


def test_pages_of_a_long_queue_hold_each_batch_once(olivia: Client) -> None:
    for user in range(queue.PER_PAGE + 1):
        settle(make_event(f"u{user}"))
        flush(SHARD, FakeZion(), make_terms())

    first, second = (page_of(olivia, f"{QUEUE}?place=delivered&p={number}") for number in (1, 2))

    assert (first.count("Open</a>"), second.count("Open</a>")) == (queue.PER_PAGE, 1)
    assert "Next</a>" in first
    assert "Page 2 of 2" in second


def test_a_torn_batch_does_not_hide_the_others(olivia: Client, ledger: redis.Redis) -> None:
    whole, torn = failed("ada"), failed("ben")
    ledger.hdel(keys.batch(SHARD, torn), "items")

    page = page_of(olivia, QUEUE)

    assert whole[:12] in page
    assert "fields are missing" in page
    assert "cannot be read" in page_of(olivia, f"{QUEUE}{torn}/")


def test_what_a_user_wrote_is_never_markup(olivia: Client) -> None:
    settle(make_event("ada", model="<script>alert(1)</script>"))
    flush(SHARD, FakeZion(unknown=["ada@example.com"]), make_terms())
    (row,) = queue.page(SHARD, Place.BATCHES).rows

    page = page_of(olivia, f"{QUEUE}{row.id}/")

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("url", LIVE)
def test_without_redis_the_queue_says_so(olivia: Client, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    connect.cache_clear()

    assert "Redis cannot be reached" in page_of(olivia, url)


@pytest.mark.parametrize("url", LIVE + HISTORY)
def test_who_may_only_look_sees_every_page_and_no_act(victor: Client, url: str) -> None:
    failed()

    page = page_of(victor, url)

    assert "Retry now" not in page
    assert "Retry all" not in page


@pytest.mark.parametrize("url", [*LIVE, *HISTORY, f"{QUEUE}abc/", "/admin/usage/governeduser/"])
def test_who_may_not_look_is_refused(nobody: Client, url: str) -> None:
    assert nobody.get(url).status_code == 403


@pytest.mark.parametrize("url", LIVE + HISTORY)
def test_a_stranger_is_sent_to_the_login(db: None, cache: redis.Redis, url: str) -> None:
    answer = Client().get(url)

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("url", HISTORY)
def test_nobody_adds_or_deletes_history(olivia: Client, url: str) -> None:
    assert olivia.get(f"{url}add/").status_code == 403
    assert olivia.post(f"{url}1/delete/", {"post": "yes"}).status_code in {302, 403}


def test_a_letter_shows_reason_payload_and_evidence_to_those_who_may_only_look(victor: Client) -> None:
    held()

    page = page_of(victor, f"/admin/usage/deadletter/{DeadLetter.objects.get().pk}/change/")

    for part in ("its sender never reported back", "ada@example.com", "call_id"):
        assert part in page
    assert "Discard" not in page


@pytest.mark.parametrize(
    "chosen", ["when=1h", "when=7d", "source=provider", "when=junk", "source=junk", "attempts=several"]
)
@pytest.mark.parametrize("url", HISTORY[:2])
def test_filters_choose_rows_without_an_error(olivia: Client, url: str, chosen: str) -> None:
    assert olivia.get(f"{url}?{chosen}", follow=True).status_code == 200


def test_a_page_of_the_queue_costs_no_query_per_batch(olivia: Client) -> None:
    failed("ada")
    with CaptureQueriesContext(connection) as with_one:
        page_of(olivia, QUEUE)
    for user in ("ben", "dora", "eli"):
        failed(user)

    with CaptureQueriesContext(connection) as with_four:
        page_of(olivia, QUEUE)

    assert len(with_four) == len(with_one)


def make_row(**changes: Any) -> CallRecord:
    now = datetime.now(UTC)
    event = make_event()
    fields = {name: getattr(event, name) for name in ("external_id", "user_id", "email", "model", "endpoint")}
    figures = {"input": 1, "output": 1, "requests": 1, "source": "provider", "admitted_at": now, "delivered_at": now}
    return CallRecord(**{**fields, **figures, "call_id": event.call_id, "batch_id": "b", **changes})


@pytest.mark.parametrize("by", ["call_id", "request_id", "external_id", "email", "batch_id"])
def test_a_call_is_found_by_anything_that_names_it(olivia: Client, by: str) -> None:
    CallRecord.objects.bulk_create([make_row(**{by: "wanted"}), make_row(**{by: "other"})])

    page = page_of(olivia, "/admin/usage/callrecord/?q=wanted")

    assert f"/callrecord/{CallRecord.objects.get(**{by: 'wanted'}).pk}/change/" in page
    assert f"/callrecord/{CallRecord.objects.get(**{by: 'other'}).pk}/change/" not in page


def test_the_page_of_a_call_shows_its_details(olivia: Client) -> None:
    row = make_row(cached_input=48_151, reasoning_output=62_342)
    row.save()

    page = page_of(olivia, f"/admin/usage/callrecord/{row.pk}/change/")

    assert "Cached input" in page
    assert {"48151", "62342"} <= set(re.findall(r"\d+", page.replace(",", "")))


def test_the_page_of_a_batch_shows_the_details_of_its_calls(olivia: Client) -> None:
    settle(make_event("ada", details=Details(cached_input=4815, audio_output=2)))
    settle(make_event("ben"))
    flush(SHARD, FakeZion(unknown=["ada@example.com", "ben@example.com"]), make_terms())
    pages = [page_of(olivia, f"{QUEUE}{row.id}/") for row in queue.page(SHARD, Place.BATCHES).rows]

    assert sum(page.count("cached input 4,815, audio output 2") for page in pages) == 1


def test_actions_are_listed_newest_first(olivia: Client) -> None:
    OperatorAction.objects.create(who="victor", what="replay failed x", why="why-a")
    OperatorAction.objects.create(who="olivia", what="block ext-eli", why="why-b")

    page = page_of(olivia, "/admin/usage/operatoraction/")

    assert page.index("why-b") < page.index("why-a")
