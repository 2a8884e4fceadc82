"""A user's limits as last read from Zion: fetched by one caller at a time, stored for `admit`, kept for looking at."""

import asyncio
from pathlib import Path
from typing import Protocol

import orjson
import structlog

from limits import keys
from sentinel import config
from sentinel.exceptions import Forbidden, GovernanceUnavailable
from sentinel.lib import clock, metrics, redis
from sentinel.lib.background import spawn
from sentinel.zion.schemas import Limit, ZionUnavailable, ZionUnknownUser

log = structlog.get_logger("limits")
_store = redis.Script(Path(__file__).parent / "lua" / "store.lua")
_REPEATING = {"DAILY", "WEEKLY", "MONTHLY"}
_FETCHES = 4  # a snapshot that a delivery overtook is fetched again, this often at most


class LimitsSource(Protocol):
    """Where limits come from: Zion."""

    async def fetch_limits(self, external_id: str) -> tuple[Limit, ...]: ...


class Snapshots:
    """Refreshes snapshots of limits; one fetch per user and process at a time."""

    def __init__(self, source: LimitsSource) -> None:
        self._source = source
        self._fetching: dict[str, asyncio.Task[None]] = {}

    async def refresh(self, external_id: str) -> None:
        """Fetch and store the limits of this user.

        Raises GovernanceUnavailable when Zion does not say, Forbidden when Zion does not know the user.
        """
        fetching = self._fetching.get(external_id)
        if fetching is None:
            fetching = self._fetching[external_id] = spawn(self._fetch(external_id))
            fetching.add_done_callback(lambda _: self._fetching.pop(external_id, None))
        await asyncio.shield(fetching)

    def refresh_in_background(self, external_id: str) -> None:
        """Refresh without making anybody wait; a failure is logged, the old snapshot serves on."""
        spawn(self._refresh_quietly(external_id))

    async def _refresh_quietly(self, external_id: str) -> None:
        try:
            await self.refresh(external_id)
        except (GovernanceUnavailable, Forbidden, redis.RedisUnavailable) as error:
            log.warning("limits_refresh_failed", external_id=external_id, reason=str(error))

    async def _fetch(self, external_id: str) -> None:
        for _ in range(_FETCHES):
            seen = await redis.client().command("HGET", keys.user(external_id), "deliveries") or b"0"
            limits = await self._ask(external_id)
            if (await _store.call(*store_call(external_id, seen, limits)))[0] == 1:
                await self._keep_copy(external_id, limits)
                return
        raise GovernanceUnavailable("This user's limits are changing too fast to be read. Try again.")

    async def _ask(self, external_id: str) -> tuple[Limit, ...]:
        metrics.CACHE.labels("limits", "miss").inc()
        try:
            return await self._source.fetch_limits(external_id)
        except ZionUnknownUser as error:
            raise Forbidden("The governance service does not know this user.") from error
        except ZionUnavailable as error:
            raise GovernanceUnavailable from error

    async def _keep_copy(self, external_id: str, limits: tuple[Limit, ...]) -> None:
        settings = config.get()
        copy = {"fetched_ms": clock.now_ms(), "limits": limits}
        seconds = settings.cache_ttl_seconds + settings.limits_stale_seconds
        try:
            await redis.cache().command("SET", keys.limits_cache(external_id), orjson.dumps(copy), "EX", seconds)
        except redis.RedisUnavailable as error:  # only for looking at: the ledger has it
            metrics.REDIS_ERRORS.labels(error.reason).inc()


def store_call(external_id: str, deliveries_seen: object, limits: tuple[Limit, ...]) -> tuple[list[str], list[object]]:
    """Keys and arguments of store.lua. Unlimited metrics have no quota; an empty list of limits is told apart."""
    quotas = [limit for limit in limits if limit.limit is not None]
    allows_empty = config.get().limits_when_empty == "allow"
    args: list[object] = [deliveries_seen, len(quotas) if limits or allows_empty else -1]
    for quota in quotas:
        reset = quota.reset_period or ""
        args += [f"{quota.name}.{quota.metric}", quota.limit, quota.used, period_end(quota), reset]
    return [keys.user(external_id)], args


def period_end(limit: Limit) -> int:
    """When the period of a limit ends, ms; 0 for one that does not repeat."""
    return (limit.period_end_ms or 0) if limit.reset_period in _REPEATING else 0
