"""admit(): rate window and reservation of every metric in one atomic step (lua/admit.lua), or a refusal.

The script decides; this module gives it what it needs, and answers its questions:

unknown, stale   -> fetch the limits from Zion, ask again (stale ones serve for a bounded time while Zion fails)
period           -> roll the known period over, ask again, refresh behind the call
late             -> it reached Redis after we would have given up: ask again (the first call learns the time so)
wait             -> only holds of other calls keep it out: ask again when one ends, first come first served
revoked          -> raised to the caller, who has the token validated again
everything else  -> a grant or a refusal
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from zlib import crc32

import structlog

from limits import keys
from limits.ledger_clock import LedgerClock
from limits.queue import Queue
from limits.replies import AdmitReply, refusal
from limits.snapshot import Snapshots
from limits.values import Ask, Grant, Principal, RateState, period_after
from sentinel import config
from sentinel.exceptions import (
    GovernanceUnavailable,
    QuotaStoreUnavailable,
)
from sentinel.lib import clock, metrics, redis
from sentinel.lib.background import spawn

log = structlog.get_logger("admission")
_LUA = Path(__file__).parent / "lua"
_admit = redis.Script(_LUA / "admit.lua")
_release = redis.Script(_LUA / "release.lua")
_roll = redis.Script(_LUA / "roll.lua")
_rate = redis.Script(_LUA / "rate.lua")
_ROUNDS = 32  # unknown, rolled over for each quota of the user, and decided
_MARKER_MS = 3_600_000
_FORGET_LEASES = 10  # longer than a lease that nobody moves: the reaper would charge a call that never left
_LONGEST_PAUSE_SECONDS = 8.0


class Admission:
    """Admits or refuses calls against the ledger."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self.queue = Queue()
        self._clock = LedgerClock()

    async def admit(
        self,
        principal: Principal,
        ask: Ask,
        *,
        call_id: str,
        event: bytes,
        passable: int = 0,
        floor: Callable[[], int] | None = None,
    ) -> Grant:
        """Reserve what the call may use.

        `event` is what the reaper records should this process die, with `passable` tokens of output passed on.
        `floor` is asked while the call waits: answers of calls before it may tell by then what such a call needs.

        Raises RateLimitExceeded, QuotaExceeded, Forbidden, Revoked, GovernanceUnavailable, QuotaStoreUnavailable.
        """
        try:
            return await self._ask(principal, ask, (call_id, event, passable), floor)
        finally:
            self.queue.leave(principal.external_id, call_id)

    async def _ask(
        self, principal: Principal, ask: Ask, call: tuple[str, bytes, int], floor: Callable[[], int] | None
    ) -> Grant:
        external_id, stale_ms, rounds = principal.external_id, 0, 0
        while rounds < _ROUNDS:
            reply = await self._decide(principal, ask, stale_ms, call)
            if reply.decision == "admitted":
                return self._granted(reply, principal, call[0])
            if reply.decision == "wait":
                if not await self.queue.wait(external_id, call[0], reply.before):
                    raise refusal(replace(reply, decision="held"))
                ask = replace(ask, floor=floor()) if floor else ask
                continue
            rounds += 1
            stale_ms = await self._resolve(external_id, reply, stale_ms)
        raise GovernanceUnavailable("This user's limits are changing too fast to be read. Try again.")

    async def _resolve(self, external_id: str, reply: AdmitReply, stale_ms: int) -> int:
        """Answer the script's question, or raise its refusal; returns for how many ms stale limits may serve."""
        if reply.decision in {"unknown", "stale"}:
            if stale_ms:  # Zion has failed, and what we have is too old even so
                raise GovernanceUnavailable(retry_after_seconds=1)
            return await self._renew(external_id, reply.decision)
        if reply.decision == "period":
            await self._roll_over(external_id, reply)
        elif reply.decision != "late":
            raise refusal(reply)
        return stale_ms

    def _granted(self, reply: AdmitReply, principal: Principal, call_id: str) -> Grant:
        metrics.add(metrics.of(metrics.CACHE, "limits", "hit"), 1)
        if reply.refresh:
            self._snapshots.refresh_in_background(principal.external_id)
        return _grant(reply, principal, call_id)

    async def rate(self, principal: Principal) -> tuple[int, int, int] | None:
        """Limit, remaining calls and reset (ms) of the caller's rate window; None when Redis does not say."""
        settings = config.get()
        limit, window_ms = settings.rate_limit_requests, settings.rate_limit_window_seconds * 1000
        try:
            recent, reset = await _rate.call([keys.rate(principal.external_id)], [window_ms])
        except redis.RedisUnavailable:
            return None
        return limit, max(limit - recent, 0), reset

    async def _decide(self, principal: Principal, ask: Ask, stale_ms: int, call: tuple[str, bytes, int]) -> AdmitReply:
        call_id, event, passable = call
        settings = config.get()
        external_id, shard = principal.external_id, keys.shard_of(principal.external_id)
        fresh_ms = settings.cache_ttl_seconds * 1000
        # Jitter by user, so that the limits of all do not come due together.
        refresh_ms = fresh_ms * (70 + crc32(external_id.encode()) % 20) // 100
        names = [
            keys.user(external_id), keys.rate(external_id), keys.call(shard, call_id), keys.leases(shard),
            keys.waiting(external_id), keys.waiting_seen(external_id), keys.rate_tokens(external_id),
        ]  # fmt: skip
        args = [
            call_id, external_id, principal.validated_ms, settings.rate_limit_requests,
            settings.rate_limit_window_seconds * 1000, settings.max_concurrent_calls_per_user,
            int(settings.lease_seconds * 1000), settings.quota_mode, ask.input, ask.choices,
            -1 if ask.cap is None else ask.cap, ask.generous, ask.floor, settings.quota_share,
            settings.quota_min_output_tokens if ask.least is None else ask.least, ask.requests,
            fresh_ms, stale_ms, refresh_ms, event, passable,
            int(settings.quota_wait_seconds * 1000), settings.rate_limit_burst, settings.rate_limit_tokens,
            self._clock.after(settings.redis_timeout_seconds),
        ]  # fmt: skip
        try:
            reply = AdmitReply.read(await _admit.call(names, args))
        except redis.RedisUnavailable as error:
            metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
            spawn(_forget(external_id, call_id))
            raise QuotaStoreUnavailable(retry_after_seconds=1) from error
        except asyncio.CancelledError:
            spawn(_forget(external_id, call_id))
            raise
        self._clock.heard(reply.now)
        return reply

    async def _renew(self, external_id: str, decision: str) -> int:
        """Fetch limits; returns for how many ms stale ones may serve instead (when Zion fails and there are some)."""
        try:
            await self._snapshots.refresh(external_id)
        except GovernanceUnavailable:
            stale_ms = config.get().limits_stale_seconds * 1000
            if decision == "unknown" or not stale_ms:
                raise
            return stale_ms
        except redis.RedisUnavailable as error:
            raise QuotaStoreUnavailable(retry_after_seconds=1) from error
        return 0

    async def _roll_over(self, external_id: str, reply: AdmitReply) -> None:
        try:
            user = keys.user(external_id)
            reset = await redis.client().command("HGET", user, f"{reply.quota}:reset") or b""
            following: int | None = reply.period_end
            while following is not None and following <= reply.now:
                following = period_after(following, reset.decode())
            if following is None:
                await self._snapshots.refresh(external_id)
                return
            await _roll.call([user], [reply.quota, reply.period_end, following])
        except redis.RedisUnavailable as error:
            raise QuotaStoreUnavailable(retry_after_seconds=1) from error
        self._snapshots.refresh_in_background(external_id)


async def release(grant: Grant) -> None:
    """Give back the hold of a call that provably never left; where Redis fails, again behind the call."""
    try:
        await _release_once(grant.external_id, grant.call_id)
    except redis.RedisUnavailable:
        spawn(_forget(grant.external_id, grant.call_id))


async def _release_once(external_id: str, call_id: str) -> None:
    shard = keys.shard_of(external_id)
    names = [keys.user(external_id), keys.call(shard, call_id), keys.leases(shard), keys.rate_tokens(external_id)]
    await _release.call(names, [call_id, _MARKER_MS])


async def _forget(external_id: str, call_id: str) -> None:
    """An admit whose answer was lost may hold, or run late: mark the call as released as soon as Redis answers."""
    until = clock.monotonic() + _FORGET_LEASES * config.get().lease_seconds
    for attempt in count():
        try:
            await _release_once(external_id, call_id)
        except redis.RedisUnavailable:
            if clock.monotonic() > until:
                log.exception("hold_not_released", external_id=external_id, call_id=call_id)
                return
            await asyncio.sleep(min(2**attempt, _LONGEST_PAUSE_SECONDS))
        else:
            return


def _grant(reply: AdmitReply, principal: Principal, call_id: str) -> Grant:
    if reply.would_refuse:
        metrics.of(metrics.DECISIONS, "would_refuse").inc()
        log.info("would_refuse", external_id=principal.external_id, call_id=call_id, reason=reply.would_refuse)
    metrics.add(metrics.of(metrics.DECISIONS, "admitted"), 1)
    return Grant(
        call_id=call_id,
        shard=keys.shard_of(principal.external_id),
        external_id=principal.external_id,
        admitted_ms=reply.now,
        cap=reply.cap if reply.cap >= 0 else None,
        held_input=reply.input,
        held_output=reply.output,
        rate=RateState(config.get().rate_limit_requests, reply.remaining, reply.reset),
        would_refuse=reply.would_refuse,
        left=reply.quota,
    )
