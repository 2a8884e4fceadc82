"""Reads for the verification, page by page: what is under way in a shard, and the hashes of its users.

Memory grows with what is under way (open calls, events that wait), not with settled calls or with users.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from redis.exceptions import RedisError

from limits import keys as limits_keys
from sentinel.lib.redis import RedisUnavailable, ledger
from usage import outbox
from usage.aggregate import Entry
from usage.batch import Batch, State
from usage.models import CallRecord
from usage.resolution import Place
from usage.values import UsageEvent
from usage.verify import Account, Flight, Standing, account_of

PAGE = 500
_BATCHES_AT_ONCE = 50
_UNCONFIRMED = (Place.BATCHES, Place.HELD, Place.DEAD)
T = TypeVar("T")
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Reading:
    """What is under way in one shard. `unreadable` counts waiting events that name no user."""

    flights: defaultdict[str, Flight] = field(default_factory=lambda: defaultdict(Flight))
    entry_of: dict[str, str] = field(default_factory=dict)
    open_calls: set[str] = field(default_factory=set)
    unreadable: int = 0

    def add_waiting(self, entries: Sequence[Entry], standing: Standing, *, is_part: bool = False) -> None:
        """Count events that wait. `is_part`: another part of theirs may be delivered already, and in the history."""
        asked = [entry.call_id for entry in entries if not entry.is_returned and not is_part]
        known = set(CallRecord.objects.filter(call_id__in=asked).values_list("call_id", flat=True))
        for entry in entries:
            call_id = entry.call_id or entry.id
            before = self.entry_of.setdefault(call_id, "")
            if before == entry.id:
                continue  # it moved from the stream to a batch, or on, while we read
            self.entry_of[call_id] = entry.id
            try:
                flight = self.flights[UsageEvent.from_json(entry.event).external_id]
                flight.charge(entry.charges, standing)
            except ValueError:
                self.unreadable += 1
                continue
            if before or call_id in known:
                flight.again.add(call_id)

    def add_open(self, call_id: str, fields: Sequence[bytes | None], *, is_leased: bool) -> None:
        """Count a call if it is open; its fields are state, user and holds."""
        state, user, holds = fields
        if state != b"open" or user is None or call_id in self.open_calls:
            return
        self.open_calls.add(call_id)
        self.flights[user.decode()].hold(call_id, (holds or b"").decode(), is_leased=is_leased)


def read(shard: int, progress: Progress, *, among: Collection[str] | None = None) -> Reading:
    """Everything under way in a shard. `among`: look at these calls and at those with a lease, instead of finding all.

    Raises RedisUnavailable, DatabaseError.
    """
    reading = Reading()
    try:
        _read_open(reading, shard, progress, among)
        _read_stream(reading, shard, progress)
        for place in _UNCONFIRMED:
            _read_batches(reading, shard, place, progress)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return reading


def users(shard: int) -> Iterator[list[str]]:
    """The external ids that this shard knows, page by page; one may come twice. Raises RedisUnavailable."""
    try:
        yield from pages(_scan(limits_keys.tagged(shard, "user:")), PAGE)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error


def accounts(external_ids: Iterable[str]) -> dict[str, Account]:
    """The hashes of these users; a user without one has an empty account. Raises RedisUnavailable."""
    found: dict[str, Account] = {}
    try:
        for page in pages(external_ids, PAGE):
            with ledger().pipeline(transaction=False) as pipeline:
                for external_id in page:
                    pipeline.hgetall(limits_keys.user(external_id))
                hashes: list[Any] = pipeline.execute()
            for external_id, fields in zip(page, hashes, strict=True):
                text = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
                found[external_id] = account_of(external_id, text)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return found


def pages(found: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`."""
    iterator = iter(found)
    while page := list(islice(iterator, size)):
        yield page


def _read_open(reading: Reading, shard: int, progress: Progress, among: Collection[str] | None) -> None:
    # The lease is asked for before the call: one that ends in between is no longer open.
    found = _scan(limits_keys.tagged(shard, "call:")) if among is None else _candidates(shard, among)
    looked = 0
    for page in pages(found, PAGE):
        with ledger().pipeline(transaction=False) as pipeline:
            for call_id in page:
                pipeline.zscore(limits_keys.leases(shard), call_id)
                pipeline.hmget(limits_keys.call(shard, call_id), "state", "external_id", "hold")
            replies: list[Any] = pipeline.execute()
        for call_id, lease, fields in zip(page, replies[::2], replies[1::2], strict=True):
            reading.add_open(call_id, fields, is_leased=lease is not None)
        looked += len(page)
        progress("calls looked at", looked)


def _candidates(shard: int, among: Collection[str]) -> Iterator[str]:
    yield from among
    for call_id, _ in ledger().zscan_iter(limits_keys.leases(shard), count=PAGE):
        yield call_id.decode()


def _read_stream(reading: Reading, shard: int, progress: Progress) -> None:
    last, looked = "", 0
    while found := outbox.read(shard, PAGE, after=last):
        reading.add_waiting(found, Standing.ABSENT)
        last, looked = found[-1].id, looked + len(found)
        progress("waiting events looked at", looked)


def _read_batches(reading: Reading, shard: int, place: Place, progress: Progress) -> None:
    looked = 0
    for page in pages(outbox.ids(shard, place), _BATCHES_AT_ONCE):
        for batch in outbox.get(shard, page):
            if batch.state is not State.APPLIED:
                waiting = [Entry(m.entry_id, m.call_id, m.event, m.charges) for m in batch.members]
                is_part = len(batch.identities) != len(batch.items) or bool(batch.origin and batch.rejections)
                reading.add_waiting(waiting, _standing(batch), is_part=is_part)
        looked += len(page)
        progress(f"batches looked at in {place}", looked)


def _standing(batch: Batch) -> Standing:
    """What Zion may have of it though nobody has heard so."""
    if batch.state is State.HELD:
        return Standing.HELD
    is_in_doubt = batch.state in {State.SENDING, State.DOUBTED} or batch.doubt.total > 0
    return Standing.DOUBTED if is_in_doubt else Standing.ABSENT


def _scan(start: str) -> Iterator[str]:
    """What follows `start` in the names of keys."""
    pattern = start.translate(_PLAIN) + "*"
    for key in ledger().scan_iter(match=pattern, count=PAGE):
        yield key.decode()[len(start) :]


_PLAIN = str.maketrans({sign: f"\\{sign}" for sign in "*?[]\\"})
