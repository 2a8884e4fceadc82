"""Users and their open calls as the ledger has them, some at a time, for the admin. Not for the request path."""

from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from limits import keys
from sentinel import config
from sentinel.lib.redis import RedisUnavailable, ledger

_KEYS_AT_ONCE = 1000
_SCANS = 20  # one page looks at about this many thousand keys, whatever else is in the server
_LEASES_AT_ONCE = 200
_LEASES_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user in a list."""

    external_id: str
    fetched_ms: int
    quotas: tuple[str, ...]
    open_calls: int
    blocked: str


@dataclass(frozen=True, slots=True)
class Users:
    """Some users, in no order. `cursor` leads on; empty: these were the last."""

    rows: tuple[UserRow, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class OpenCall:
    """One reservation: what it holds as `quota|period end|amount`, until when its lease runs, ms."""

    call_id: str
    admitted_ms: int
    lease_ms: int
    hold: str
    received: int


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Open calls of a user; `is_all` is false when there are more leases than were looked at."""

    calls: tuple[OpenCall, ...]
    is_all: bool


def users(cursor: str = "", *, at_least: int = 50) -> Users:
    """The next users of the ledger, at least so many while there are more. Raises RedisUnavailable."""
    shard, position = (int(part) for part in cursor.split("-")) if cursor else (0, 0)
    names: dict[bytes, None] = {}
    try:
        for _ in range(_SCANS):
            pattern = _pattern(shard)
            reply: Any = ledger().scan(position, match=pattern, count=_KEYS_AT_ONCE)
            position = reply[0]
            names.update(dict.fromkeys(reply[1]))
            if position == 0:
                shard += 1
            if shard == config.get().usage_shards or len(names) >= at_least:
                break
        rows = _rows(list(names))
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return Users(rows, "" if shard == config.get().usage_shards else f"{shard}-{position}")


def open_calls(external_id: str) -> OpenCalls:
    """What is held for one user, by call, among the leases of the shard. Raises RedisUnavailable."""
    shard, found = keys.shard_of(external_id), []
    try:
        for first in range(0, _LEASES_LOOKED_AT, _LEASES_AT_ONCE):
            leases: Any = ledger().zrange(keys.leases(shard), first, first + _LEASES_AT_ONCE - 1, withscores=True)
            found += _calls(shard, external_id, leases)
            if len(leases) < _LEASES_AT_ONCE:
                return OpenCalls(tuple(found), is_all=True)
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return OpenCalls(tuple(found), is_all=False)


def _pattern(shard: int) -> str:
    """The users of a shard. What a pattern would read as its own signs stands for itself."""
    name = keys.tagged(shard, "user:")
    for sign in "\\*?[]":
        name = name.replace(sign, f"\\{sign}")
    return f"{name}*"


def _rows(names: list[bytes]) -> tuple[UserRow, ...]:
    with ledger().pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hmget(name, ["fetched_at", "quotas", "active", "blocked"])
        found: list[Any] = pipeline.execute()
    return tuple(_row(name, fields) for name, fields in zip(names, found, strict=True))


def _row(name: bytes, fields: list[bytes | None]) -> UserRow:
    fetched, quotas, active, blocked = ((field or b"").decode(errors="replace") for field in fields)
    external_id = name.decode(errors="replace").partition("}:user:")[2]
    return UserRow(external_id, int(fetched or 0), tuple(quotas.split()), int(active or 0), blocked)


def _calls(shard: int, external_id: str, leases: list[tuple[bytes, float]]) -> list[OpenCall]:
    with ledger().pipeline(transaction=False) as pipeline:
        for call_id, _ in leases:
            pipeline.hmget(keys.call(shard, call_id.decode()), ["external_id", "admitted", "hold", "received"])
        found: list[Any] = pipeline.execute()
    return [
        OpenCall(call_id.decode(), int(admitted or 0), int(lease), (hold or b"").decode(), int(received or 0))
        for (call_id, lease), (whose, admitted, hold, received) in zip(leases, found, strict=True)
        if whose == external_id.encode()
    ]
