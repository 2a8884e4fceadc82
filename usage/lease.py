"""The lease of an open call: its owner lives, and has passed on no more output than Redis knows (lua/extend.lua)."""

from collections.abc import Callable
from pathlib import Path

from limits import keys as ledger_keys
from limits.values import Grant
from sentinel import config
from sentinel.lib import metrics, redis
from usage.journal import Journal
from usage.progress import Progress

EXTEND = redis.Script(Path(__file__).parent / "lua" / "extend.lua")
ALLOWANCE_TOKENS = 512  # output that may be passed on between two words to Redis


class Lease:
    """An open call's claim to life, and how much output its owner may have passed on, as Redis knows it.

    Should the owner die, the reaper records `received`; so it is raised in Redis before more than that is passed on.
    """

    __slots__ = ("_journal", "asks_at", "grant", "received")

    def __init__(self, grant: Grant, received: int, journal: Journal) -> None:
        self.grant = grant
        self._journal = journal
        self.received = received
        self.asks_at = received

    async def advance(self, passed: int, tokens: Callable[[], int]) -> None:
        """Ask for more room; `passed` bounds what went out, `tokens()` counts it. A failing Redis stops no stream."""
        self.received = tokens() + ALLOWANCE_TOKENS
        self.asks_at = passed + ALLOWANCE_TOKENS
        try:
            await extend(self.grant.shard, [self])
        except redis.RedisUnavailable as error:
            metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
            self._journal.append(Progress(self.grant.call_id, self.grant.shard, self.received).to_json())


async def extend(shard: int, leases: list[Lease]) -> None:
    """Move the leases of these calls of one shard. Raises RedisUnavailable."""
    names = [ledger_keys.leases(shard), *(ledger_keys.call(shard, lease.grant.call_id) for lease in leases)]
    figures = [value for lease in leases for value in (lease.grant.call_id, lease.received)]
    await EXTEND.call(names, [int(config.get().lease_seconds * 1000), *figures])
