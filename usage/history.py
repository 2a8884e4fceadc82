"""Writes what was delivered to the database, in bulk, and only then lets Redis forget it.

A batch is counted into the totals once, however often it is written: its row is locked and carries the mark. So a
worker that dies anywhere in here costs nothing but the same work again.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import orjson
from django.db import connection, transaction

from sentinel import config
from usage import outbox, recent
from usage.batch import LONGEST_REASON, Batch, Kind, Member, State, doubt_json
from usage.models import BatchRecord, CallRecord, DeadLetter, HourlyTotal
from usage.resolution import Place
from usage.values import UsageEvent

_BATCHES_AT_ONCE = 25  # of up to some hundred calls each: what a worker holds in memory while it catches up
_ROWS_AT_ONCE = 500
_TOTAL_OF = ("hour", "external_id", "model", "source")
_FIGURES = ("calls", "input", "output", "requests")


def write(shard: int) -> int:
    """Write all delivered batches of a shard; the number of them. Raises RedisUnavailable and DatabaseError."""
    written = 0
    while batch_ids := outbox.ids(shard, Place.DELIVERED, _BATCHES_AT_ONCE):
        batches = outbox.get(shard, batch_ids)
        _write(batches)
        recent.note(batches)
        outbox.forget(shard, batch_ids)
        written += len(batches)
    return written


def note_set_aside() -> int:
    """Mirror held and dead batches as rows to look at, and close rows of batches that are neither any more.

    The number of new rows. Raises RedisUnavailable and DatabaseError.
    """
    # Rows are read first: one that another worker adds meanwhile is not taken for one whose batch has gone.
    known = set(DeadLetter.objects.filter(resolved_at=None).values_list("batch_id", flat=True))
    letters: list[DeadLetter] = []
    found: set[str] = set()
    for shard in range(config.get().usage_shards):
        for place in (Place.HELD, Place.DEAD):
            there = outbox.ids(shard, place)
            found.update(there)
            new = [batch_id for batch_id in there if batch_id not in known]
            letters += [_letter(batch, place) for batch in outbox.get(shard, new)]
    DeadLetter.objects.bulk_create(letters, batch_size=_ROWS_AT_ONCE, ignore_conflicts=True)
    close_letters(known - found)
    return len(letters)


def keep_letter(batch: Batch) -> None:
    """Have the row of a batch that is set aside before anything else becomes of it. Raises DatabaseError."""
    place = Place.HELD if batch.state is State.HELD else Place.DEAD
    DeadLetter.objects.bulk_create([_letter(batch, place)], ignore_conflicts=True)


def close_letters(batch_ids: Iterable[str], how: str = "") -> None:
    """These batches are no longer set aside; `how` is a DeadLetter.Resolution where an operator decided."""
    closed = list(batch_ids)
    for start in range(0, len(closed), _ROWS_AT_ONCE):
        rows = DeadLetter.objects.filter(batch_id__in=closed[start : start + _ROWS_AT_ONCE], resolved_at=None)
        rows.update(resolved_at=datetime.now(UTC), resolution=how)


def prune(days: int) -> int:
    """Delete rows of calls and batches delivered longer ago than this; totals and letters stay."""
    before = datetime.now(UTC) - timedelta(days=days)
    calls, _ = CallRecord.objects.filter(delivered_at__lt=before).delete()
    batches, _ = BatchRecord.objects.filter(delivered_at__lt=before, is_counted=True).delete()
    return calls + batches


@transaction.atomic
def _write(batches: Sequence[Batch]) -> None:
    """Calls, batches and totals in one transaction. Two writers of one batch wait for each other at its row."""
    rows = [_batch_row(batch) for batch in batches]
    BatchRecord.objects.bulk_create(rows, batch_size=_ROWS_AT_ONCE, ignore_conflicts=True)
    ids = [batch.id for batch in batches]
    ours = set(
        BatchRecord.objects.select_for_update()
        .filter(batch_id__in=ids, is_counted=False)
        .order_by("batch_id")
        .values_list("batch_id", flat=True)
    )
    calls = [_call_row(member.usage(), batch) for batch in batches if batch.id in ours for member in batch.members]
    CallRecord.objects.bulk_create(calls, batch_size=_ROWS_AT_ONCE, ignore_conflicts=True)
    _add_to_totals(calls)
    BatchRecord.objects.filter(batch_id__in=ours).update(is_counted=True)


def _add_to_totals(calls: Sequence[CallRecord]) -> None:
    """One upsert a total. Always in the same order, or two writers could lock each other out.

    Written by hand: the ORM's way, to read rows and update them in bulk, took two thirds of a worker's time.
    """
    sums: dict[tuple[datetime, str, str, str], list[int]] = {}
    for call in calls:
        hour = call.admitted_at.replace(minute=0, second=0, microsecond=0)
        total = sums.setdefault((hour, call.external_id, call.model, call.source), [0] * len(_FIGURES))
        for at, amount in enumerate((1, call.input, call.output, call.requests)):
            total[at] += amount
    hour_of = HourlyTotal._meta.get_field("hour").get_db_prep_save
    rows = [(hour_of(at[0], connection), *at[1:], *sums[at]) for at in sorted(sums)]
    with connection.cursor() as cursor:
        cursor.executemany(_upsert(), rows)


def _upsert() -> str:
    quote = connection.ops.quote_name
    table, columns = quote(HourlyTotal._meta.db_table), [quote(name) for name in (*_TOTAL_OF, *_FIGURES)]
    added = [f"{quote(name)} = {table}.{quote(name)} + excluded.{quote(name)}" for name in _FIGURES]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608 - ours
        f"ON CONFLICT ({', '.join(columns[: len(_TOTAL_OF)])}) DO UPDATE SET {', '.join(added)}"
    )


def _batch_row(batch: Batch) -> BatchRecord:
    return BatchRecord(
        batch_id=batch.id,
        idempotency_key=batch.key,
        endpoint=batch.endpoint if batch.items else Kind.LOCAL.value,
        items=len({member.item for member in batch.members}) if batch.items else 0,
        calls=len(batch.members),
        tries=batch.tries,
        origin=batch.origin,
        last_doubt=doubt_json(batch.doubt) if batch.doubt.total else "",
        sealed_at=_time(batch.created_ms),
        delivered_at=_time(batch.now_ms),
    )


def _call_row(event: UsageEvent, batch: Batch) -> CallRecord:
    return CallRecord(
        call_id=_clip(event.call_id, 80),
        request_id=_clip(event.request_id, 200),
        external_id=_clip(event.external_id, 256),
        user_id=_clip(event.user_id, 256),
        email=_clip(event.email, 256),
        model=_clip(event.model, 256),
        endpoint=_clip(event.endpoint, 64),
        input=event.input,
        output=event.output,
        requests=event.requests,
        source=event.source.value,
        admitted_at=_time(event.admitted_ms),
        batch_id=batch.id,
        delivered_at=_time(batch.now_ms),
        **event.details.told(),
    )


def _letter(batch: Batch, place: Place) -> DeadLetter:
    users = {item.external_id for item in batch.items}
    return DeadLetter(
        batch_id=batch.id,
        kind=DeadLetter.Kind.HELD if place is Place.HELD else DeadLetter.Kind.DEAD,
        external_id=users.pop() if len(users) == 1 else "",
        reason=_clip(batch.reason, LONGEST_REASON) or "none given",
        calls=len(batch.members),
        tries=max(batch.tries, batch.rejections),
        payload={
            "body": batch.body.decode().replace("\x00", ""),
            "doubt": orjson.loads(doubt_json(batch.doubt)) if batch.doubt.total else None,
            "events": [_readable(member) for member in batch.members],
        },
        since=_time(batch.now_ms),
    )


def _readable(member: Member) -> str:
    return member.event.decode(errors="backslashreplace").replace("\x00", "\\x00")


def _clip(text: str, longest: int) -> str:
    """What every database takes: one odd event must not keep the rows of all others out."""
    return text.replace("\x00", "")[:longest]


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
