"""What goes wrong, in which order and for how long: by the seed alone. Every fault heals itself before it returns."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from sentinel.launch.process import Child
from tests import disk, raw
from tests.chaos.installation import LEASE_SECONDS, Installation
from tests.people import Person
from tests.wait import eventually

Fault = Callable[["Faults", random.Random], Awaitable[str]]
_REAP_SECONDS = 5.0  # how often the workers look for lapsed leases
_FULL_BYTES = 100_000  # less than an empty server uses


@dataclass(slots=True)
class Faults:
    """One fault after another, with `rest_seconds` between them on average, until told to stop."""

    stack: Installation
    people: Sequence[Person]
    seed: int
    rest_seconds: float = 1.5
    done: Counter[str] = field(default_factory=Counter)
    revived: Counter[str] = field(default_factory=Counter)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Torment the installation; returns with everything healed."""
        chance = random.Random(self.seed)
        deck: list[Fault] = []
        while not self.stopped.is_set():
            await self._elapse(chance.expovariate(1 / self.rest_seconds))
            if not deck:  # every fault once, in a new order, before any comes again
                deck = [*_ALL]
                chance.shuffle(deck)
            self.done[await deck.pop()(self, chance)] += 1
            self.revived.update(self.stack.revive())
        self.heal()

    def heal(self) -> None:
        """The simulators behave again, and every process runs."""
        self.stack.zion.clear("/_control/faults")
        self.stack.redis.start()
        self._redis("CONFIG", "SET", "maxmemory", 0)
        self.revived.update(self.stack.revive())

    async def gateway_killed(self, chance: random.Random) -> str:
        """Its supervisor starts another."""
        for pid in self.stack.gateway_workers(chance.randrange(2)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return "gateway worker killed"

    async def gateway_stopped(self, chance: random.Random) -> str:
        """For longer than its lease, mostly so long that its calls are reaped."""
        pids = self.stack.gateway_workers(chance.randrange(2))
        with _stopped(pids):
            await self._elapse(LEASE_SECONDS + chance.uniform(0.5, _REAP_SECONDS + 1))
        return "gateway worker stopped beyond its lease"

    async def worker_killed(self, chance: random.Random) -> str:
        """In the middle of whatever it does."""
        await self._killed(chance.choice(self.stack.workers), chance.uniform(0.1, 2))
        return "celery worker killed"

    async def beat_killed(self, chance: random.Random) -> str:
        """Ticks come from the other, or from the workers' own timer."""
        await self._killed(chance.choice(self.stack.beats), chance.uniform(0.1, 3))
        return "beat killed"

    async def redis_killed(self, chance: random.Random) -> str:
        """It loads its append-only file again."""
        self.stack.redis.kill()
        await self._elapse(chance.uniform(0.0, 2.5))
        self.stack.redis.start()
        return "redis killed"

    async def redis_and_gateway_killed(self, chance: random.Random) -> str:
        """What the gateway could not settle is in its journal only."""
        self.stack.redis.kill()
        await self._elapse(chance.uniform(0.3, 1.0))
        await self.gateway_killed(chance)
        await self._elapse(chance.uniform(0.0, 2.0))
        self.stack.redis.start()
        return "redis killed, then a gateway worker"

    async def redis_stopped(self, chance: random.Random) -> str:
        """It executes late what was sent meanwhile."""
        with _stopped([self.stack.redis.pid]):
            await self._elapse(chance.uniform(0.2, 2.0))
        return "redis stopped"

    async def redis_full(self, chance: random.Random) -> str:
        """Admission is refused, settles pass."""
        self._redis("CONFIG", "SET", "maxmemory", _FULL_BYTES)
        await self._elapse(chance.uniform(0.5, 2.5))
        self._redis("CONFIG", "SET", "maxmemory", 0)
        return "redis full"

    async def disk_full(self, chance: random.Random) -> str:
        """Of the journals: what is settled meanwhile, only Redis has."""
        with disk.full(self._all_gateway_workers()):
            await self._elapse(chance.uniform(0.5, 2.5))
        return "journal's disk full"

    async def disk_full_and_redis_killed(self, chance: random.Random) -> str:
        """Nobody takes a settle: admission stops, and gateways remember what ends until Redis is there again."""
        with disk.full(self._all_gateway_workers()):
            self.stack.redis.kill()
            await self._elapse(chance.uniform(0.5, 2.5))
            self.stack.redis.start()
            await eventually(self._has_no_gateway_to_offer, 30.0, "the gateways have told Redis all that they remember")
        return "journal's disk full, redis killed"

    async def connections_killed(self, chance: random.Random) -> str:
        """All of them, several times."""
        for _ in range(chance.randint(1, 4)):
            self._redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await self._elapse(0.2)
        return "redis connections killed"

    async def scripts_flushed(self, chance: random.Random) -> str:
        """They are sent again."""
        for _ in range(chance.randint(1, 4)):
            self._redis("SCRIPT", "FLUSH")
            await self._elapse(0.1)
        return "redis scripts flushed"

    async def writes_paused(self, chance: random.Random) -> str:
        """Reads go on."""
        self._redis("CLIENT", "PAUSE", chance.randint(300, 2000), "WRITE")
        await self._elapse(2.0)
        return "redis writes paused"

    async def zion_misbehaves(self, chance: random.Random) -> str:
        """A few requests meet one kind of fault; what is left of it is forgotten after a while."""
        fault = self._zion_fault(chance)
        self.stack.zion.tell("/_control/faults", fault)
        await self._elapse(chance.uniform(0.5, 4.0))
        self.stack.zion.clear("/_control/faults")
        return f"zion: {fault['kind']}"

    def _zion_fault(self, chance: random.Random) -> dict[str, Any]:
        kinds: dict[str, dict[str, Any]] = {
            "status": {"status": chance.choice((500, 502, 503))},
            "delay": {"seconds": chance.choice((0.5, 1.5, 2.5))},
            "cut": {},
            "hang": {},
            "apply_then_hang": {"bytes": chance.choice((0, 30))},
            "apply_then_cut": {"bytes": chance.choice((0, 20, 150))},
            "apply_then_status": {"status": 500},
            "garbage": {},
            "success_false": {},
            "shuffle": {},
            "drop_results": {"count": 1},
            "fail_items": {"emails": [f"{each.name}@example.com" for each in chance.sample(list(self.people), 5)]},
        }
        kind = chance.choice([*kinds, "429"])
        chosen = {"status": 429, "retry_after": chance.randint(1, 2)} if kind == "429" else kinds[kind]
        on = "*" if kind in {"status", "delay", "garbage"} and chance.random() < 0.3 else "batch"
        return {"kind": "status" if kind == "429" else kind, "on": on, "times": chance.randint(1, 4), **chosen}

    async def _killed(self, child: Child, seconds: float) -> None:
        child.kill()
        await self._elapse(seconds)
        self.stack.restart(child)

    def _all_gateway_workers(self) -> list[int]:
        return [pid for at in range(len(self.stack.gateways)) for pid in self.stack.gateway_workers(at)]

    async def _has_no_gateway_to_offer(self) -> bool:
        """One that ended remembers nothing, and is started again."""
        self.revived.update(self.stack.revive())
        try:
            told = [await raw.exchange(url, raw.request("GET", "/health")) for url in self.stack.urls]
        except (OSError, raw.Cut):
            return False
        return all(each.json()["status"] == "healthy" for each in told)

    def _redis(self, *command: str | int) -> None:
        """A connection that was cut or paused by an earlier fault is made anew once."""
        try:
            self.stack.tell_redis(*command)
        except RedisError:
            self.stack.tell_redis(*command)

    async def _elapse(self, seconds: float) -> None:
        """Let time pass for the installation; a stop cuts it short."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)


_ALL: tuple[Fault, ...] = (
    Faults.gateway_killed,
    Faults.gateway_stopped,
    Faults.worker_killed,
    Faults.beat_killed,
    Faults.redis_killed,
    Faults.redis_and_gateway_killed,
    Faults.redis_stopped,
    Faults.redis_full,
    Faults.disk_full,
    Faults.disk_full_and_redis_killed,
    Faults.connections_killed,
    Faults.scripts_flushed,
    Faults.writes_paused,
    *[Faults.zion_misbehaves] * 5,
)


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stopped by the kernel, and always continued."""
    for pid in pids:
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, which: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, which)
