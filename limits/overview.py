"""A caller's own limits as the ledger has them, for GET /v1/usage. One reading, nothing is changed."""

from collections.abc import Mapping
from dataclasses import dataclass

from limits import keys
from limits.values import period_after
from sentinel.lib import redis


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota: tokens or requests. `used` is confirmed by Zion, `unconfirmed` settled but not yet confirmed."""

    name: str
    metric: str
    limit: int
    used: int
    unconfirmed: int
    held: int
    reset_period: str
    resets_at_ms: int | None

    @property
    def free(self) -> int:
        """What a call may still ask for."""
        return max(self.limit - self.used - self.unconfirmed - self.held, 0)


@dataclass(frozen=True, slots=True)
class Overview:
    """What the ledger knows of a user. Times in ms; `fetched_ms` None: their limits were never fetched."""

    fetched_ms: int | None
    revoked_ms: int | None
    is_blocked: bool
    open_calls: int
    quotas: tuple[Quota, ...]


async def overview(external_id: str) -> Overview:
    """Read a user. Raises RedisUnavailable."""
    connection = redis.client()
    pending = connection.command("HGETALL", keys.user(external_id))
    seconds, _ = await connection.command("TIME")
    flat = [value.decode() for value in await pending]
    return read(dict(zip(flat[::2], flat[1::2], strict=True)), int(seconds) * 1000)


def read(fields: Mapping[str, str], now_ms: int) -> Overview:
    """A user's hash by name. A period that is over counts as the next one, of which nothing is used yet."""
    return Overview(
        fetched_ms=_number(fields.get("fetched_at")),
        revoked_ms=_number(fields.get("revoked_at")),
        is_blocked="blocked" in fields,
        open_calls=int(fields.get("active", 0)),
        quotas=tuple(_quota(fields, key, now_ms) for key in fields.get("quotas", "").split()),
    )


def _quota(fields: Mapping[str, str], key: str, now_ms: int) -> Quota:
    name, _, metric = key.rpartition(".")
    reset, end = fields.get(f"{key}:reset", ""), int(fields.get(f"{key}:end", 0))
    is_over = 0 < end <= now_ms
    following: int | None = end or None
    while following is not None and following <= now_ms:
        following = period_after(following, reset)
    used, pending, held = (
        0 if is_over else int(fields.get(f"{key}:{part}", 0)) for part in ("used", "pending", "held")
    )
    return Quota(name, metric, int(fields.get(f"{key}:limit", 0)), used, pending, held, reset, following)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
