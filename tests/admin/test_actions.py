"""What operators do with batches: each way out, what it needs, what it leaves behind, and that it is recorded."""

import orjson
import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.admin.batches import dead, failed, held
from tests.usage.make import SHARD, FakeZion, make_terms, quota
from usage import history, outbox
from usage.flush import flush
from usage.models import CallRecord, DeadLetter, OperatorAction
from usage.resolution import Place

ALL_ACTS = ["retry", "replay", "send-again", "release", "discard", "re-key"]


def url(batch_id: str, act: str = "") -> str:
    return f"/admin/usage/queuedbatch/{batch_id}/" + (f"{act}/" if act else "")


def act(client: Client, batch_id: str, name: str, **form: str) -> str:
    """Post an action; the page that follows."""
    return client.post(url(batch_id, name), form, follow=True).content.decode()


def deliver() -> FakeZion:
    zion = FakeZion()
    flush(SHARD, zion, make_terms())
    history.write(SHARD)
    return zion


def test_retry_now_makes_a_failed_batch_due_and_is_recorded(olivia: Client) -> None:
    batch_id = failed()
    assert deliver().sent == []

    page = act(olivia, batch_id, "retry")

    assert "Due now" in page
    assert [key for _, key, _ in deliver().sent] == [batch_id]
    done = OperatorAction.objects.get()
    assert (done.who, done.what) == ("olivia", f"replay failed {batch_id}")


def test_retry_all_makes_every_failed_batch_due_and_leaves_held_ones(olivia: Client) -> None:
    failed("ada")
    failed("ben")
    held_id = held("dora")

    page = olivia.post("/admin/usage/queuedbatch/all/retry/", {"reason": "Zion is back"}, follow=True).content.decode()

    assert "2 batches are due now" in page
    assert len(deliver().sent) == 2
    assert outbox.ids(SHARD, Place.HELD) == [held_id]
    done = OperatorAction.objects.get()
    assert (done.what, done.why) == ("replay all failed: 2 batches", "Zion is back")


def test_a_released_batch_is_booked_and_not_sent(olivia: Client) -> None:
    batch_id = held()

    act(olivia, batch_id, "release", reason="seen in Zion's books")

    assert quota("ext-ada", "requests") == {"used": 1, "pending": 0}
    assert deliver().sent == []
    assert CallRecord.objects.get().batch_id == batch_id
    assert DeadLetter.objects.get().resolution == DeadLetter.Resolution.APPLIED
    assert OperatorAction.objects.get().why == "seen in Zion's books"


def test_a_held_batch_that_is_sent_again_keeps_its_key(olivia: Client) -> None:
    batch_id = held()

    act(olivia, batch_id, "send-again", reason="not in Zion's books")

    assert [key for _, key, _ in deliver().sent] == [batch_id]
    assert DeadLetter.objects.get().resolution == DeadLetter.Resolution.REPLAYED


@pytest.mark.parametrize("make", [held, dead])
def test_a_discarded_batch_gives_the_quota_back_and_leaves_its_letter(olivia: Client, make: object) -> None:
    batch_id = make("eli")  # type: ignore[operator]  # one of the two above
    assert quota("ext-eli", "requests")["pending"] == 1

    page = act(olivia, batch_id, "discard", reason="the user is gone for good")

    assert "Discarded" in page
    assert quota("ext-eli", "requests") == {"used": 0, "pending": 0}
    assert deliver().sent == []
    letter = DeadLetter.objects.get()
    assert (letter.resolution, letter.resolved_at is not None) == (DeadLetter.Resolution.DISCARDED, True)
    assert "eli@example.com" in letter.payload["body"]
    assert OperatorAction.objects.get().what.startswith("discard")


def test_discarding_a_batch_whose_letter_is_not_written_yet_keeps_what_it_said(olivia: Client) -> None:
    batch_id = held()
    DeadLetter.objects.all().delete()

    act(olivia, batch_id, "discard", reason="agreed with the user")

    assert DeadLetter.objects.get().payload["events"]


def test_a_rekeyed_letter_is_delivered_to_the_new_address_with_the_old_call_ids(olivia: Client) -> None:
    batch_id = dead("eli", calls=2)
    calls = {orjson.loads(event)["call_id"] for event in DeadLetter.objects.get().payload["events"]}

    page = act(olivia, batch_id, "re-key", email="elias@example.com", reason="married")
    zion = deliver()

    assert "elias@example.com" in page
    assert zion.booked["elias@example.com", "requests"] == 2
    assert [key == batch_id for _, key, _ in zion.sent] == [False]
    assert {row.call_id for row in CallRecord.objects.all()} == calls
    assert {row.email for row in CallRecord.objects.all()} == {"elias@example.com"}
    assert quota("ext-eli", "requests") == {"used": 2, "pending": 0}
    assert DeadLetter.objects.get().resolution == DeadLetter.Resolution.REKEYED
    assert OperatorAction.objects.get().what == f"re-key dead {batch_id} to elias@example.com"


def test_a_letter_page_says_where_its_calls_were_delivered(olivia: Client) -> None:
    batch_id = dead()
    act(olivia, batch_id, "replay")
    deliver()

    page = olivia.get(f"/admin/usage/deadletter/{DeadLetter.objects.get().pk}/change/").content.decode()

    assert CallRecord.objects.get().batch_id in page
    assert "Replay" not in page


@pytest.mark.parametrize("name", ["release", "send-again", "discard"])
def test_what_cannot_be_taken_back_needs_a_reason(olivia: Client, name: str) -> None:
    batch_id = held()

    page = act(olivia, batch_id, name, reason="  ")

    assert "This field is required" in page
    assert outbox.ids(SHARD, Place.HELD) == [batch_id]
    assert not OperatorAction.objects.exists()


def test_a_new_address_must_be_one(olivia: Client) -> None:
    batch_id = dead()

    page = act(olivia, batch_id, "re-key", email="not an address")

    assert "valid email" in page
    assert outbox.ids(SHARD, Place.DEAD) == [batch_id]


@pytest.mark.parametrize("name", ["retry", "replay", "re-key"])
def test_an_act_for_another_state_changes_nothing(olivia: Client, name: str) -> None:
    batch_id = held()

    page = act(olivia, batch_id, name, email="new@example.com")

    assert "Nothing was changed" in page
    assert outbox.ids(SHARD, Place.HELD) == [batch_id]
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize("name", ALL_ACTS)
def test_looking_is_not_acting(victor: Client, name: str) -> None:
    batch_id = held()

    asked, done = victor.get(url(batch_id, name)), victor.post(url(batch_id, name), {"reason": "x", "email": "a@b.c"})

    assert (asked.status_code, done.status_code) == (403, 403)
    assert victor.post("/admin/usage/queuedbatch/all/retry/").status_code == 403
    assert outbox.ids(SHARD, Place.HELD) == [batch_id]


@pytest.mark.parametrize("name", ALL_ACTS)
def test_without_the_forms_token_nothing_is_done(olivia: Client, name: str) -> None:
    batch_id = held()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="olivia"))

    refused = strict.post(url(batch_id, name), {"reason": "x", "email": "a@example.com"})

    assert refused.status_code == 403
    assert outbox.ids(SHARD, Place.HELD) == [batch_id]


@pytest.mark.parametrize("name", ALL_ACTS)
def test_asking_for_an_act_changes_nothing(olivia: Client, name: str) -> None:
    batch_id = held()

    page = olivia.get(url(batch_id, name))

    assert page.status_code == 200
    assert b"csrfmiddlewaretoken" in page.content
    assert outbox.ids(SHARD, Place.HELD) == [batch_id]


def test_an_act_that_is_not_there_is_not_found(olivia: Client) -> None:
    assert olivia.post(url("abc", "explode")).status_code == 404


def test_a_batch_that_is_gone_is_said_to_be(olivia: Client) -> None:
    page = olivia.post(url("abc", "retry"), follow=True)

    assert page.redirect_chain
    assert page.status_code == 404


def test_other_methods_are_refused(olivia: Client) -> None:
    assert olivia.put(url(failed(), "retry")).status_code == 405
