"""settle(): reservation out, actual in, usage event appended, in one atomic step (lua/settle.lua).

Durable before done: `settle` returns once Redis has acknowledged, or, where it cannot, once the local journal is on the
disk; then the event is offered to Redis again until it is taken. Settling twice changes nothing.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from limits import keys as ledger_keys
from limits.values import Grant
from sentinel import config
from sentinel.lib import clock, metrics, redis
from sentinel.lib.background import spawn
from usage import keys
from usage.journal import Journal, orphans, read
from usage.lease import EXTEND, Lease, extend
from usage.progress import is_progress, progress_in
from usage.values import UsageEvent

log = structlog.get_logger("recorder")
_LUA = Path(__file__).parent / "lua"
SETTLE = redis.Script(_LUA / "settle.lua")
_TICK_SECONDS = 0.5
_TICKS_PER_ADOPTION = 60
_EXTEND_AT_ONCE = 500
_REPLAY_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a settle stands: its status, its stream entry ("" when only the journal has it), events waiting."""

    status: str
    entry_id: str
    waiting: int


def settle_call(event: UsageEvent, *, reaped: bool = False) -> tuple[list[str], list[Any]]:
    """Keys and arguments of settle.lua for this event."""
    shard = ledger_keys.shard_of(event.external_id)
    names = [
        ledger_keys.user(event.external_id),
        ledger_keys.call(shard, event.call_id),
        ledger_keys.leases(shard),
        keys.stream(shard),
        ledger_keys.rate_tokens(event.external_id),
    ]
    memory_ms = config.get().settled_memory_seconds * 1000
    as_what = "reaped" if reaped else "settled"
    return names, [event.call_id, event.to_json(), event.input, event.output, event.requests, memory_ms, as_what]


class Recorder:
    """Settles calls of this process, keeps their leases alive, and brings back what Redis missed."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[str, Lease] = {}
        self._unconfirmed: dict[str, UsageEvent] = {}
        self.is_exhausted = False  # neither Redis nor the journal took the last settle: no more may be admitted
        self._run_id = ""
        self._extended = 0.0

    def opened(self, grant: Grant, passable: int) -> Lease:
        """A call was admitted: keep its lease until it is settled or released. `passable` is what Redis was told."""
        lease = Lease(grant, passable, self._journal)
        self._open[grant.call_id] = lease
        return lease

    def closed(self, grant: Grant) -> None:
        """The call was settled or released."""
        self._open.pop(grant.call_id, None)

    @property
    def open_calls(self) -> int:
        """Admitted calls of this process that are not settled."""
        return len(self._open)

    @property
    def unconfirmed(self) -> int:
        """Settled calls that only the journal has."""
        return len(self._unconfirmed)

    async def settle(self, event: UsageEvent) -> Receipt:
        """Account for a call, exactly once whatever happens. Never raises: what cannot be stored is logged whole."""
        self._journal.append(event.to_json())
        try:
            receipt = await _settle_once(event)
        except redis.RedisUnavailable as error:
            metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
            receipt = await self._keep(event)
        else:
            self._run_id = self._run_id or redis.client().run_id  # also one lost before the first tick
        metrics.add(metrics.of(metrics.SETTLED, event.source), 1)
        self._open.pop(event.call_id, None)
        return receipt

    async def _keep(self, event: UsageEvent) -> Receipt:
        metrics.JOURNALLED.inc()
        self._unconfirmed[event.call_id] = event
        try:
            await self._journal.sync()
        except OSError as error:
            self.is_exhausted = True
            log.critical("usage_not_durable", reason=str(error), usage=orjson.loads(event.to_json()))
        return Receipt("journalled", "", 0)

    async def tick(self) -> None:
        """One round of housekeeping: leases, unconfirmed settles, a Redis that came back as another run."""
        try:
            await self._extend_leases()
            await self._offer_again()
            await self._notice_restart()
        except redis.RedisUnavailable as error:
            metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
        self._tidy()

    def _tidy(self) -> None:
        if self._unconfirmed:  # whose only durable copy may be in the oldest segment
            return
        try:
            self._journal.tidy()
        except OSError as error:
            log.warning("journal_not_rotated", reason=str(error))

    async def run(self) -> None:
        """Housekeeping for as long as the process lives. Siblings may die, and Redis be away, at any time."""
        while True:
            await self.adopt_orphans()
            for _ in range(_TICKS_PER_ADOPTION):
                await asyncio.sleep(_TICK_SECONDS)
                await self.tick()
                metrics.flush()

    async def adopt_orphans(self) -> None:
        """Replay what processes that are gone left behind."""
        for orphan in orphans(self._journal.folder):
            events = list(_events(read(orphan.path)))
            try:
                await _replay(events)
                for told in progress_in(read(orphan.path)):
                    await EXTEND.call(*told.extend_call())
            except redis.RedisUnavailable:
                orphan.leave()
                return
            log.info("journal_replayed", segment=orphan.path.name, events=len(events))
            orphan.remove()

    async def drain(self) -> None:
        """Last chance before the process ends: offer what only the journal has."""
        try:
            await self._offer_again()
        except redis.RedisUnavailable:
            log.warning("journal_left_for_siblings", events=len(self._unconfirmed))

    async def _extend_leases(self) -> None:
        now = clock.monotonic()
        if not self._open or now - self._extended < config.get().lease_seconds / 4:
            return
        self._extended = now
        by_shard: dict[int, list[Lease]] = {}
        for lease in self._open.values():
            by_shard.setdefault(lease.grant.shard, []).append(lease)
        for shard, leases in by_shard.items():
            for start in range(0, len(leases), _EXTEND_AT_ONCE):
                await extend(shard, leases[start : start + _EXTEND_AT_ONCE])

    async def _offer_again(self) -> None:
        """Raises RedisUnavailable; an event that Redis refuses for its own sake goes behind the others."""
        while self._unconfirmed:
            part = list(self._unconfirmed.values())[:_REPLAY_AT_ONCE]
            answers = await asyncio.gather(*(_settle_once(event) for event in part), return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, BaseException)]
            for event, answer in zip(part, answers, strict=True):
                if isinstance(answer, BaseException):
                    self._unconfirmed[event.call_id] = self._unconfirmed.pop(event.call_id)  # behind the others
                else:
                    self._unconfirmed.pop(event.call_id, None)
            if refused:
                raise refused[0]
        self.is_exhausted = False

    async def _notice_restart(self) -> None:
        if not redis.client().is_connected:  # nobody calls: without this a loss would be noticed after the keep time
            await redis.client().command("PING")
        run_id = redis.client().run_id
        if not run_id or run_id == self._run_id:
            return
        known, self._run_id = self._run_id, run_id
        if known:
            events = list(_events(self._journal.records()))
            log.warning("redis_restarted", replaying=len(events))
            spawn(self._replay_own(events))

    async def _replay_own(self, events: list[UsageEvent]) -> None:
        try:
            await _replay(events)
        except redis.RedisUnavailable:
            self._run_id = "replay again"


async def _settle_once(event: UsageEvent) -> Receipt:
    status, entry_id, waiting = await SETTLE.call(*settle_call(event))
    if status == b"corrected":
        metrics.LATE_CORRECTIONS.inc()
    return Receipt(status.decode(), entry_id.decode(), waiting)


async def _replay(events: list[UsageEvent]) -> None:
    for start in range(0, len(events), _REPLAY_AT_ONCE):
        await asyncio.gather(*(_settle_once(event) for event in events[start : start + _REPLAY_AT_ONCE]))


def _events(payloads: Any) -> Any:
    for payload in payloads:
        if is_progress(payload):
            continue
        try:
            yield UsageEvent.from_json(payload)
        except ValueError:
            log.exception("journal_record_unreadable", size=len(payload))
