"""What one gateway process keeps open: connections, the recorder, the running streams."""

import asyncio
import gc
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from gateway import tokens
from gateway.auth import Authenticator
from gateway.relay import Stop
from gateway.throttle import FailureThrottle
from gateway.upstream import Upstream
from limits import keys
from limits.admission import Admission
from limits.learning import OutputNeeds
from limits.snapshot import Snapshots
from sentinel import config, passthrough
from sentinel.config import Config
from sentinel.lib import background, clock, metrics, redis
from sentinel.lib.background import spawn
from sentinel.zion.client import AsyncZion
from usage.inline import Inline
from usage.journal import Journal
from usage.recorder import Recorder
from usage.send import terms_of
from usage.trend import Refusals

log = structlog.get_logger("runtime")
_STOP_SECONDS = 3.0
_NUDGE_SECONDS = 0.25
_LOOK_SECONDS = 0.5
_GC_THRESHOLDS = (50_000, 20, 50)  # measured: a fifth less CPU per call than with 700, 10, 10


class Passing(Protocol):
    """An answer that is being passed on: when the provider was last heard, and whether the client is waited for."""

    heard: float
    is_sending: bool


class Stoppable(Protocol):
    """A running stream."""

    @property
    def relay(self) -> Passing | None: ...

    external_id: str

    def stop(self, reason: Stop) -> None: ...
    def keep_alive(self, silent_since: float) -> None: ...


@dataclass(slots=True)
class Runtime:
    """Shared by all calls of this process; holds nothing about any one of them but its running streams."""

    zion: AsyncZion
    upstream: Upstream
    authenticator: Authenticator
    admission: Admission
    snapshots: Snapshots
    recorder: Recorder
    journal: Journal
    inline: Inline
    needs: OutputNeeds = field(default_factory=OutputNeeds)
    is_draining: bool = False
    started: float = field(default_factory=clock.monotonic)
    streams: set[Stoppable] = field(default_factory=set)
    _nudged: float = 0.0
    _housekeeping: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    def open(cls, settings: Config) -> "Runtime":
        """Open everything. Raises OSError when the data folder cannot be written."""
        if passthrough.parse(settings.passthrough_allow).is_everything:
            log.warning("nearly_all_endpoints_are_open", setting="PASSTHROUGH_ALLOW")
        zion = AsyncZion(settings)
        journal = Journal(settings.sentinel_data_dir / "journal", settings.journal_keep_seconds)
        journal.open()
        tokens.warm()
        snapshots = Snapshots(zion)
        runtime = cls(
            zion=zion,
            upstream=Upstream(settings),
            authenticator=Authenticator(zion, FailureThrottle(settings.failed_logins_per_minute)),
            admission=Admission(snapshots),
            snapshots=snapshots,
            recorder=Recorder(journal),
            journal=journal,
            inline=Inline(zion, terms_of(settings), settings.inline_budget_seconds),
        )
        runtime._housekeeping = [
            spawn(work)
            for work in (runtime.recorder.run(), runtime.watch_streams(), runtime.end_streams(), Refusals().run())
        ]
        return runtime

    def may_nudge(self) -> bool:
        """Whether a nudge is worth its cost: a backlog that stays above the mark needs a few a second, no more."""
        now = clock.monotonic()
        if now - self._nudged < _NUDGE_SECONDS:
            return False
        self._nudged = now
        return True

    async def watch_streams(self) -> None:
        """Stop streams whose provider is silent or whose client takes nothing: one timer for all of them.

        Where that is switched on, clients that hear nothing are sent comments.
        """
        settings, loop = config.get(), asyncio.get_running_loop()
        idle, slow, quiet = (
            settings.upstream_idle_seconds,
            settings.send_timeout_seconds,
            settings.sse_keepalive_seconds,
        )
        while True:
            await asyncio.sleep(min(idle, slow, quiet or 4.0, 4.0) / 4)
            now = loop.time()
            for stream in list(self.streams):
                if quiet:
                    stream.keep_alive(now - quiet)
                relay = stream.relay
                if relay is None:
                    continue
                if now - relay.heard > (slow if relay.is_sending else idle):
                    stream.stop(Stop.SLOW if relay.is_sending else Stop.SILENT)

    async def end_streams(self) -> None:
        """End the streams of users for whom an operator has asked for it: one look for all of them."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self.streams:
                continue
            try:
                named = await redis.client().command("SMEMBERS", keys.ending())
            except redis.RedisUnavailable as error:
                metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
                continue
            users = {user.decode() for user in named}
            for stream in [each for each in self.streams if each.external_id in users]:
                stream.stop(Stop.ENDED)

    async def close(self) -> None:
        """Stop and settle what the server's grace time has left running, then close everything."""
        self.is_draining = True
        for stream in list(self.streams):
            stream.stop(Stop.SHUTDOWN)
        await self._wait(_STOP_SECONDS)
        for task in background.running() - set(self._housekeeping):
            task.cancel()
        await self._wait(_STOP_SECONDS)
        for task in self._housekeeping:
            task.cancel()
        await self.recorder.drain()
        metrics.flush()
        self.journal.close()
        await self.upstream.close()
        await self.zion.aclose()
        await redis.close()

    async def _wait(self, seconds: float) -> None:
        waiting = background.running() - set(self._housekeeping)
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)


_current: list[Runtime] = []


def current() -> Runtime:
    """The runtime of this process. Raises LookupError before the server has started."""
    if not _current:
        raise LookupError("the gateway has not started")
    return _current[0]


def start(settings: Config) -> Runtime:
    """Open the runtime of this process."""
    _current[:] = [Runtime.open(settings)]
    # What exists now lives as long as the process: the collector need not look at it again, and calls leave little.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    return _current[0]


async def stop() -> None:
    """Close the runtime of this process."""
    if _current:
        await _current.pop().close()
