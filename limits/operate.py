"""What operators do to a user's limits and tokens, from commands and the admin. Not for the request path."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from limits import keys
from limits.snapshot import store_call
from sentinel import config
from sentinel.lib import redis
from sentinel.zion.client import Zion

_LUA = Path(__file__).parent / "lua"
_revoke = redis.Script(_LUA / "revoke.lua")
_store = redis.Script(_LUA / "store.lua")
_TRIES = 4
_ENDING_SECONDS = 5  # several looks of every gateway
_CACHE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class QuotaState:
    """One quota of a user as admission sees it; tokens or requests, `period_end_ms` 0 without a period."""

    quota: str
    limit: int
    used: int
    pending: int
    held: int
    period_end_ms: int

    @property
    def free(self) -> int:
        """What a call may still ask for."""
        return self.limit - self.used - self.pending - self.held


@dataclass(frozen=True, slots=True)
class UserState:
    """Everything that the ledger knows about one user. `quotas` is empty for a user without any limit."""

    external_id: str
    is_known: bool
    quotas: tuple[QuotaState, ...]
    fetched_ms: int
    revoked_ms: int
    blocked: str
    open_calls: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "quotas": [{**asdict(quota), "free": quota.free} for quota in self.quotas]}


def state_of(external_id: str) -> UserState:
    """Read one user from the ledger. Raises RedisUnavailable."""
    raw = _hash(external_id)
    names = raw.get("quotas", "").split()
    return UserState(
        external_id=external_id,
        is_known="fetched_at" in raw,
        quotas=tuple(_quota(name, raw) for name in names),
        fetched_ms=int(raw.get("fetched_at", 0)),
        revoked_ms=int(raw.get("revoked_at", 0)),
        blocked=raw.get("blocked", ""),
        open_calls=int(raw.get("active", 0)),
    )


def revoke(external_id: str) -> int:
    """Have every token of this user validated again; exact from this moment on. Returns the time, ms."""
    return int(_revoke.run([keys.user(external_id)], [])[0])


def block(external_id: str, reason: str) -> None:
    """Refuse this user until unblocked. Raises RedisUnavailable."""
    _command("HSET", keys.user(external_id), "blocked", reason or "blocked by an operator")


def unblock(external_id: str) -> bool:
    """Lift a block; false when there was none."""
    return bool(_command("HDEL", keys.user(external_id), "blocked"))


def end_streams(external_id: str) -> None:
    """Have every gateway end the streams of this user within a second; each is metered. Raises RedisUnavailable."""
    _command("SADD", keys.ending(), external_id)
    _command("EXPIRE", keys.ending(), _ENDING_SECONDS)


def purge(external_id: str) -> None:
    """Forget the snapshot, so that the next call fetches it; holds and unconfirmed usage stay."""
    _command("HDEL", keys.user(external_id), "fetched_at", "refreshing")
    url = config.get().cache_url  # may be another server than the ledger's
    try:
        with Redis.from_url(url, socket_timeout=_CACHE_SECONDS, socket_connect_timeout=_CACHE_SECONDS) as cache:
            cache.delete(keys.limits_cache(external_id))
    except RedisError as error:
        raise redis.RedisUnavailable("unreachable", str(error)) from error


def refresh(external_id: str) -> UserState:
    """Fetch the limits from Zion now. Raises ZionError, RedisUnavailable."""
    zion = Zion(config.get())
    for _ in range(_TRIES):
        seen = _hash(external_id).get("deliveries", "0")
        if _store.run(*store_call(external_id, seen, zion.fetch_limits(external_id)))[0] == 1:
            break
    return state_of(external_id)


def _quota(name: str, raw: dict[str, str]) -> QuotaState:
    limit, used, pending, held, end = (int(raw.get(f"{name}:{part}", 0)) for part in _PARTS)
    return QuotaState(name, limit, used, pending, held, end)


_PARTS = ("limit", "used", "pending", "held", "end")


def _hash(external_id: str) -> dict[str, str]:
    fields: dict[bytes, bytes] = _command("HGETALL", keys.user(external_id))
    return {name.decode(): value.decode() for name, value in fields.items()}


def _command(*command: Any) -> Any:
    try:
        return redis.command(*command)
    except RedisError as error:
        raise redis.RedisUnavailable("unreachable", str(error)) from error
