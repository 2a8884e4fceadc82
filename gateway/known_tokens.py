"""Which tokens of a user are remembered, for the admin: their hashes and how long, never a token. Not for requests."""

from dataclasses import dataclass
from typing import Any

import orjson
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from gateway import keys
from sentinel.lib.redis import RedisUnavailable

_KEYS_AT_ONCE = 1000
_SCANS = 20  # one page looks at about this many thousand keys, whatever else is in the server


@dataclass(frozen=True, slots=True)
class KnownToken:
    """One remembered token. Times in ms and seconds; `in_seconds` is until it is forgotten."""

    hash: str
    validated_ms: int
    in_seconds: int


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found. `cursor` leads on; 0: everything was looked at."""

    tokens: tuple[KnownToken, ...]
    cursor: int


def of(external_id: str, cursor: int = 0) -> Look:
    """The tokens of one user among the next keys of the cache. Raises RedisUnavailable."""
    found: list[KnownToken] = []
    try:
        cache = get_redis_connection("default")
        for _ in range(_SCANS):
            cursor, names = cache.scan(cursor, match=keys.token("*"), count=_KEYS_AT_ONCE)
            found += _those_of(cache, external_id, names)
            if cursor == 0:
                break
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return Look(tuple(sorted(set(found), key=lambda token: -token.validated_ms)), cursor)


def _those_of(cache: Any, external_id: str, names: list[bytes]) -> list[KnownToken]:
    if not names:
        return []
    entries = [_entry(value) for value in cache.mget(names)]
    ours = [
        (name, entry) for name, entry in zip(names, entries, strict=True) if entry.get("external_id") == external_id
    ]
    with cache.pipeline(transaction=False) as pipeline:
        for name, _ in ours:
            pipeline.ttl(name)
        seconds: list[int] = pipeline.execute()
    return [
        KnownToken(str(entry["hash"]), int(entry["validated_ms"]), left)
        for (_, entry), left in zip(ours, seconds, strict=True)
        if left >= 0
    ]


def _entry(value: bytes | None) -> dict[str, Any]:
    try:
        entry = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {}
    return entry if isinstance(entry, dict) else {}
