"""The rows that people look at: written once, however often it is tried."""

from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.db import connection

from tests.usage.make import NOON_MS, SHARD, FakeZion, make_due, make_event, make_terms, settle
from usage import history, keys, outbox
from usage.flush import flush
from usage.models import BatchRecord, CallRecord, DeadLetter, HourlyTotal
from usage.resolution import Place
from usage.values import Details

pytestmark = [pytest.mark.usefixtures("ledger"), pytest.mark.django_db]


def deliver(*users: str, **changes: object) -> None:
    for user in users:
        settle(make_event(user, **changes))
    flush(SHARD, FakeZion(), make_terms())


def test_each_delivered_call_is_one_row_and_redis_forgets_it() -> None:
    deliver("ada", "ada", "dora")

    assert history.write(SHARD) == 1

    assert sorted(CallRecord.objects.values_list("external_id", flat=True)) == ["ext-ada", "ext-ada", "ext-dora"]
    batch = BatchRecord.objects.get()
    assert (batch.items, batch.calls, batch.tries, batch.is_counted) == (2, 3, 1, True)
    assert str(batch) == batch.batch_id
    assert outbox.ids(SHARD, Place.DELIVERED) == []
    call = CallRecord.objects.first()
    assert call is not None
    assert (call.admitted_at, call.input) == (datetime.fromtimestamp(NOON_MS / 1000, UTC), 10)
    assert call.call_id in str(call)


def test_the_row_of_a_call_has_its_details_and_zion_is_not_told_them() -> None:
    details = Details(cached_input=4, audio_input=1, image_input=2, reasoning_output=3, audio_output=5)
    zion = FakeZion()
    settle(make_event("ada", details=details))
    settle(make_event("dora"))
    flush(SHARD, zion, make_terms())
    history.write(SHARD)

    names = Details.__struct_fields__
    assert CallRecord.objects.values_list(*names).get(external_id="ext-ada") == (4, 1, 2, 3, 5)
    assert CallRecord.objects.values_list(*names).get(external_id="ext-dora") == (0, 0, 0, 0, 0)
    ((_, _, body),) = zion.sent
    assert not [name for name in names if name.encode() in body]
    assert zion.booked["ada@example.com", "input"] == zion.booked["dora@example.com", "input"] == 10


def test_a_worker_of_the_version_before_writes_rows_that_know_no_details() -> None:
    deliver("ada")
    history.write(SHARD)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO usage_callrecord (call_id, request_id, external_id, user_id, email, model, endpoint, input,"
            " output, requests, source, admitted_at, batch_id, delivered_at) SELECT 'older', request_id, external_id,"
            " user_id, email, model, endpoint, input, output, requests, source, admitted_at, batch_id, delivered_at"
            " FROM usage_callrecord"
        )

    assert CallRecord.objects.get(call_id="older").cached_input == 0


def test_totals_grow_by_hour_user_model_and_source() -> None:
    deliver("ada", "ada")
    history.write(SHARD)
    deliver("ada", "dora", model="o3")
    deliver("ada")
    history.write(SHARD)

    totals = {(row.external_id, row.model): (row.calls, row.input, row.output) for row in HourlyTotal.objects.all()}
    assert totals == {("ext-ada", "gpt-4o"): (3, 30, 15), ("ext-ada", "o3"): (1, 10, 5), ("ext-dora", "o3"): (1, 10, 5)}
    assert "ext-" in str(HourlyTotal.objects.first())


def test_a_worker_that_dies_before_redis_forgets_changes_nothing_when_it_is_done_again(ledger: redis.Redis) -> None:
    deliver("ada", "dora")
    (batch_id,) = outbox.ids(SHARD, Place.DELIVERED)
    stored = ledger.hgetall(keys.batch(SHARD, batch_id))

    history.write(SHARD)
    ledger.hset(keys.batch(SHARD, batch_id), mapping=stored)  # type: ignore[arg-type]
    ledger.zadd(keys.delivered(SHARD), {batch_id: 1})
    history.write(SHARD)

    assert (CallRecord.objects.count(), BatchRecord.objects.count()) == (2, 1)
    assert {row.calls for row in HourlyTotal.objects.all()} == {1}


def test_an_event_of_zeros_has_its_row() -> None:
    deliver("ada", input=0, output=0, requests=0)
    history.write(SHARD)

    assert (CallRecord.objects.count(), BatchRecord.objects.get().endpoint) == (1, "local")


def test_odd_texts_are_cut_instead_of_keeping_all_rows_out() -> None:
    deliver("ada", request_id="x" * 500, endpoint="nul\x00")
    history.write(SHARD)

    call = CallRecord.objects.get()
    assert (len(call.request_id), call.endpoint) == (200, "nul")


def test_what_is_set_aside_has_a_letter_until_it_is_resolved(ledger: redis.Redis) -> None:
    settle(make_event("eli"))
    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"\xff\x00"})
    for _ in range(6):
        flush(SHARD, FakeZion(unknown=["eli@example.com"]), make_terms())
        make_due()

    assert history.note_set_aside() == 2
    assert history.note_set_aside() == 0

    letter = DeadLetter.objects.get(external_id="ext-eli")
    assert (letter.kind, letter.reason, letter.tries, letter.calls) == ("dead", "user not found", 5, 1)
    assert "user not found" in str(letter)
    history.close_letters([letter.batch_id])
    assert DeadLetter.objects.filter(resolved_at=None).count() == 1


def test_old_rows_are_pruned_and_totals_stay() -> None:
    deliver("ada")
    history.write(SHARD)
    old = datetime.now(UTC) - timedelta(days=91)
    CallRecord.objects.update(delivered_at=old)
    BatchRecord.objects.update(delivered_at=old)
    deliver("ada")
    history.write(SHARD)

    assert history.prune(90) == 2
    assert (CallRecord.objects.count(), HourlyTotal.objects.get().calls) == (1, 2)


def test_totals_of_other_hours_are_left_alone() -> None:
    deliver("ada")
    deliver("dora", admitted_ms=NOON_MS + 3_600_000)
    history.write(SHARD)
    deliver("dora")
    deliver("ada", admitted_ms=NOON_MS + 7_200_000)
    history.write(SHARD)

    assert [row.calls for row in HourlyTotal.objects.all()] == [1, 1, 1, 1]
    deliver("ada")
    deliver("dora", admitted_ms=NOON_MS + 3_600_000)
    history.write(SHARD)
    assert sorted(row.calls for row in HourlyTotal.objects.all()) == [1, 1, 2, 2]


def test_a_letter_closes_when_its_batch_is_no_longer_set_aside(ledger: redis.Redis) -> None:
    ledger.xadd(keys.stream(SHARD), {"c": "junk", "e": b"junk"})
    flush(SHARD, FakeZion(), make_terms())
    history.note_set_aside()
    ledger.delete(keys.dead(SHARD))

    history.note_set_aside()

    assert DeadLetter.objects.get().resolved_at is not None
