"""Batches in Redis: sealed, claimed, resolved, forgotten, each one atomic step. Knows nothing of Zion or the database.

sealed -> sending (claimed, with a lease) -> applied -> forgotten once its history is written
                    |-> sealed again, later      |-> held, dead: for an operator
                    |-> replaced by new batches
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from redis.exceptions import RedisError

from limits import keys as limits_keys
from sentinel.lib.redis import RedisUnavailable, Script, client, ledger
from sentinel.zion.schemas import Endpoint
from usage import keys
from usage.aggregate import Entry
from usage.batch import Batch, Draft, Form, Kind, State, fields_of, from_hash
from usage.document import KEY_OF, resolving
from usage.resolution import Place, Resolution

_FOLDER = Path(__file__).parent / "lua"
_SEAL = Script(_FOLDER / "seal.lua")
_DUE = Script(_FOLDER / "due.lua")
_CLAIM = Script(_FOLDER / "claim.lua")
_RESOLVE = Script(_FOLDER / "resolve.lua")
_BORN = {
    Kind.SEND: (State.SEALED, Place.BATCHES),
    Kind.LOCAL: (State.APPLIED, Place.DELIVERED),
    Kind.DEAD: (State.DEAD, Place.DEAD),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch taken for one attempt. In doubt: an earlier sender took it and never reported back."""

    batch: Batch
    in_doubt: bool


def read(shard: int, limit: int, *, after: str = "") -> list[Entry]:
    """The oldest events that are not sealed yet, or those after an entry. Raises RedisUnavailable."""
    try:
        found: Any = ledger().xrange(keys.stream(shard), min=f"({after}" if after else "-", count=limit)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return [_entry(entry_id, fields) for entry_id, fields in found]


async def read_one(shard: int, entry_id: str) -> Entry | None:
    """One event that is not sealed yet, on the request path. Raises RedisUnavailable."""
    found = await client().command("XRANGE", keys.stream(shard), entry_id, entry_id)
    if not found:
        return None
    flat = found[0][1]
    return _entry(found[0][0], dict(zip(flat[::2], flat[1::2], strict=True)))


def seal(shard: int, draft: Draft, form: Form) -> str:
    """Freeze a draft; the new batch's id, or nothing when a member is already in another. Raises RedisUnavailable."""
    state, place = _BORN[draft.kind]
    batch_id = uuid4().hex
    fields = fields_of(draft, form, batch_id=batch_id, state=state)
    sealed = _SEAL.run(*_sealing(shard, draft, fields, place, 0))
    return batch_id if sealed[0] else ""


async def seal_claimed(
    shard: int, draft: Draft, form: Form, *, endpoint: Endpoint, lease_seconds: float, sole: bool = False
) -> Batch | None:
    """Freeze and claim in one step, on the request path; None when the member is already in another batch.

    Also None with `sole` while another batch of this user is sent or in doubt. Raises RedisUnavailable, and ValueError
    when the endpoint has no form for it.
    """
    batch_id = uuid4().hex
    fields = fields_of(draft, form, batch_id=batch_id, state=State.SENDING, endpoint=endpoint)
    fields |= {"tries": 1, "sole": int(sole)}
    names, arguments = _sealing(shard, draft, fields, Place.BATCHES, int(lease_seconds * 1000))
    names += [limits_keys.user(item.external_id) for item in draft.items] if sole else []
    sealed, now_ms = await _SEAL.call(names, arguments)
    if not sealed:
        return None
    stored = {name.encode(): str(value).encode() for name, value in fields.items()}
    return from_hash(batch_id, stored | {b"created": b"%d" % now_ms}, now_ms)


def due(shard: int, limit: int) -> tuple[float | None, list[str]]:
    """Seconds until a batch is due (None: there is none), and the ids of those due now. Raises RedisUnavailable."""
    wait_ms, *ids = _DUE.run([keys.batches(shard)], [limit])
    return (None if int(wait_ms) < 0 else int(wait_ms) / 1000), [batch_id.decode() for batch_id in ids]


def claim(
    shard: int, batch_id: str, lease_seconds: float, *, reading_seconds: float = 0.0, sole: bool = False
) -> Claim | None:
    """Take a due batch, a doubted one for `reading_seconds`; None when somebody else has it. Raises RedisUnavailable.

    Also None with `sole` while another batch of one of its users is sent or in doubt.
    """
    names = [keys.batches(shard), keys.batch(shard, batch_id)]
    names += [limits_keys.user(user) for user in _users_of(shard, batch_id)] if sole else []
    reply = _CLAIM.run(names, [batch_id, int(lease_seconds * 1000), int(reading_seconds * 1000)])
    if not reply:
        return None
    now_ms, in_doubt, *pairs = reply
    found = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return Claim(from_hash(batch_id, found, int(now_ms)), bool(in_doubt))


def _users_of(shard: int, batch_id: str) -> list[str]:
    """Whose usage a batch holds: items never change. Raises RedisUnavailable."""
    try:
        items: Any = ledger().hget(keys.batch(shard, batch_id), "items")
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return list(dict.fromkeys(item["external_id"] for item in orjson.loads(items or b"[]")))


def resolve(shard: int, batch: Batch, resolution: Resolution, form: Form) -> bool:
    """Write a decision down; false when another report was first. Raises RedisUnavailable."""
    return bool(_RESOLVE.run(*resolving(shard, batch, resolution, form))[0])


async def resolve_async(shard: int, batch: Batch, resolution: Resolution, form: Form) -> bool:
    """As `resolve`, on the request path."""
    return bool((await _RESOLVE.call(*resolving(shard, batch, resolution, form)))[0])


def get(shard: int, batch_ids: Iterable[str]) -> list[Batch]:
    """These batches as they stand; ids that are gone are left out. Raises RedisUnavailable."""
    wanted = list(batch_ids)
    try:
        seconds, micros = ledger().time()
        with ledger().pipeline(transaction=False) as pipeline:
            for batch_id in wanted:
                pipeline.hgetall(keys.batch(shard, batch_id))
            found = pipeline.execute()
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    now_ms = seconds * 1000 + micros // 1000
    return [from_hash(batch_id, each, now_ms) for batch_id, each in zip(wanted, found, strict=True) if each]


def ids(shard: int, place: Place, limit: int = -1) -> list[str]:
    """The batches in one place, longest there first. Raises RedisUnavailable."""
    try:
        found: Any = ledger().zrange(KEY_OF[place](shard), 0, limit - 1 if limit > 0 else -1)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return [batch_id.decode() for batch_id in found]


def forget(shard: int, batch_ids: Sequence[str]) -> None:
    """Remove confirmed batches whose history is written. Raises RedisUnavailable."""
    if not batch_ids:
        return
    try:
        with ledger().pipeline(transaction=True) as pipeline:
            pipeline.delete(*[keys.batch(shard, batch_id) for batch_id in batch_ids])
            pipeline.zrem(keys.delivered(shard), *batch_ids)
            pipeline.execute()
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    charges = fields.get(b"q", b"").decode(errors="replace")
    is_returned = fields.get(b"r") == b"1"
    return Entry(entry_id.decode(), _text(fields.get(b"c", b"")), fields.get(b"e", b""), charges, is_returned)


def _text(raw: bytes) -> str:
    """A call id; junk reads as none, which the script then does not compare."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""


def _sealing(
    shard: int, draft: Draft, fields: dict[str, str | int], place: Place, delay_ms: int
) -> tuple[list[str], list[Any]]:
    batch_id = str(fields["key"])
    members = chain.from_iterable((member.entry_id, member.call_id) for member in draft.members)
    arguments = [batch_id, delay_ms, len(fields), *chain.from_iterable(fields.items()), *members]
    return [keys.stream(shard), keys.batch(shard, batch_id), KEY_OF[place](shard)], arguments
