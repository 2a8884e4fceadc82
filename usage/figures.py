"""Zion's figures of the users of one batch, as last confirmed (Redis) and as they are now (Zion). For workers.

Each question to Zion takes a send permit, as a report does.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.exceptions import RedisError

from limits import keys as limits_keys
from limits.snapshot import period_end
from sentinel.lib.redis import RedisUnavailable, ledger
from sentinel.zion.schemas import Limit, ZionUnknownUser
from usage.batch import Batch
from usage.readback import Figure, Reading

_FIELD = ":zion"


class Source(Protocol):
    """What reading back needs of Zion's synchronous client."""

    def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        """A user's limits. Raises ZionUnknownUser or ZionUnavailable."""


def read(batch: Batch, zion: Source, wait: Callable[[], None]) -> dict[str, Reading]:
    """The readings of all users of a batch; `wait` is called before each further question.

    Raises RedisUnavailable, ZionUnavailable, and what `wait` raises.
    """
    users = list(dict.fromkeys(item.external_id for item in batch.items))
    before = _confirmed(users)
    readings: dict[str, Reading] = {}
    for user in users:
        if readings:
            wait()
        readings[user] = Reading(before[user], _present(zion, user))
    return readings


def _confirmed(users: Sequence[str]) -> dict[str, dict[str, Figure]]:
    try:
        with ledger().pipeline(transaction=False) as pipeline:
            for user in users:
                pipeline.hgetall(limits_keys.user(user))
            found: list[dict[bytes, bytes]] = pipeline.execute()
    except RedisError as error:
        raise RedisUnavailable("unreachable", str(error)) from error
    return {user: _figures(fields) for user, fields in zip(users, found, strict=True)}


def _figures(fields: dict[bytes, bytes]) -> dict[str, Figure]:
    """The field `q:zion` of each quota: `period end|figure`, as resolve.lua and store.lua write it."""
    texts = {name.decode(): value.decode() for name, value in fields.items() if name.endswith(_FIELD.encode())}
    pairs: Any = {name.removesuffix(_FIELD): text.split("|") for name, text in texts.items()}
    return {quota: Figure(int(period), int(used)) for quota, (period, used) in pairs.items()}


def _present(zion: Source, user: str) -> dict[str, Figure]:
    """A user whom Zion does not know has no figures; nor has an unlimited metric."""
    try:
        limits = zion.fetch_limits(user)
    except ZionUnknownUser:
        return {}
    return {
        f"{limit.name}.{limit.metric}": Figure(period_end(limit), limit.used)
        for limit in limits
        if limit.limit is not None
    }
