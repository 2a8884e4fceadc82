"""A load of many people, and the proof that nobody is charged for anything but what the provider served.

`python -m tests.load --calls 2000 [--kill]` runs it against a stack of its own and prints the figures.

1. Each call carries its number as `user` (the provider's records) and as X-Request-Id (the history's rows).
2. Half of the calls stream; some are left by their client, in the middle or at once.
3. Whoever is not answered goes on once that gateway is ready again, as clients do that back off: however long a busy
   machine takes to start a process, no more than the calls that were under way are lost.
4. At rest, call by call: a whole answer is exact; any other is charged once at most, and within its bounds.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp

from tests.calls import CHAT, chat
from tests.people import Person
from tests.stack import Stack, running
from tests.wait import eventually

CAP = 400
MARGIN = 16  # QUOTA_INPUT_MARGIN_TOKENS: what a reaped call may be charged above its input
REST_SECONDS = 45.0
_PATIENT, _IMPATIENT = aiohttp.ClientTimeout(total=30.0), aiohttp.ClientTimeout(total=0.1)
METRICS = ("input", "output", "requests")


@dataclass(frozen=True, slots=True)
class Made:
    """A call as its client saw it. `ending` is whole, left (on purpose), broken, or a refusal's status and code."""

    tag: str
    person: Person
    is_stream: bool
    ending: str
    received: int = 0


@dataclass(slots=True)
class Verdict:
    """What the ledgers say about a load."""

    made: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    whole: dict[str, int] = field(default_factory=lambda: dict.fromkeys(METRICS, 0))
    apart: dict[str, int] = field(default_factory=lambda: dict.fromkeys(METRICS, 0))
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"calls as clients saw them:     {dict(self.endings)}",
            f"events by how they are known:  {dict(self.sources)}",
            f"charged for whole answers:     {self.whole}, exactly the provider's figures",
            f"charged for cut answers:       {self.apart}, each within its bounds",
            f"problems:                      {len(self.problems)}",
            *self.problems[:20],
        ]


class Load:
    """`calls` calls of `people`, at most `width` at a time; `events` happen once that many calls are over."""

    def __init__(
        self,
        stack: Stack,
        people: Sequence[Person],
        *,
        calls: int,
        width: int = 40,
        seed: int = 7,
        events: Mapping[int, Callable[[], Awaitable[None]]] | None = None,
    ) -> None:
        self._stack, self._people, self._calls, self._width = stack, people, calls, width
        self._seed = seed
        self._events = dict(events or {})
        self._returning: dict[int, asyncio.Future[Any]] = {}
        self.made: list[Made] = []

    @property
    def leavers(self) -> int:
        """How many of the calls their client leaves: what a call does hangs on its number alone, not on the others."""
        return sum(self._leaves(self._chance(number)) for number in range(self._calls))

    async def run(self) -> list[Made]:
        """Make all calls."""
        numbers = count()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def caller() -> None:
                while (number := next(numbers)) < self._calls:
                    gateway, made = await self._call(session, number)
                    self.made.append(made)
                    if event := self._events.pop(len(self.made), None):
                        await event()
                    if made.ending not in {"whole", "left"}:
                        await self._until_ready(gateway)

            await asyncio.gather(*(caller() for _ in range(self._width)))
        return self.made

    async def _until_ready(self, gateway: int) -> None:
        """One question at a time, whoever waits."""
        if gateway not in self._returning:
            child = self._stack.gateways[gateway]
            waiting = eventually(
                lambda: asyncio.to_thread(child.is_ready), REST_SECONDS, f"{child.name} is ready again"
            )
            self._returning[gateway] = asyncio.ensure_future(waiting)
            self._returning[gateway].add_done_callback(lambda _: self._returning.pop(gateway))
        await asyncio.shield(self._returning[gateway])

    def _chance(self, number: int) -> random.Random:
        return random.Random(f"{self._seed}.{number}")

    @staticmethod
    def _leaves(chance: random.Random) -> bool:
        return chance.random() < 0.1

    async def _call(self, session: aiohttp.ClientSession, number: int) -> tuple[int, Made]:
        """One call: by which gateway, and how it ended."""
        person, chance = self._people[number % len(self._people)], self._chance(number)
        tag, is_stream, leaves = f"{person.name}.{number}", number % 2 == 1, self._leaves(chance)
        script: dict[str, Any] = {"pieces": chance.randint(1, 60)}
        if leaves:
            script = {"pieces": 300, "interval_ms": 2} if is_stream else {"first_byte_ms": 300}
        elif chance.random() < 0.2:
            script |= {"interval_ms": 4}
        body = chat(tag, script=script, stream=is_stream, max_tokens=CAP)
        gateway = chance.randrange(len(self._stack.urls))
        url = self._stack.urls[gateway] + CHAT
        headers = {**person.headers, "X-Request-Id": tag}
        timeout = _IMPATIENT if leaves and not is_stream else _PATIENT
        seen: list[bytes] = []
        try:
            async with session.post(url, json=body, headers=headers, timeout=timeout) as reply:
                ending = await _read(reply, seen, chance.randint(1, 40) if leaves and is_stream else 0)
        except (aiohttp.ClientError, TimeoutError):
            ending = "left" if timeout is _IMPATIENT else "broken"
        received = b"".join(seen).count(b'"delta":{"content"') if is_stream else 0
        return gateway, Made(tag, person, is_stream, ending, received)


async def _read(reply: aiohttp.ClientResponse, seen: list[bytes], leave_after: int) -> str:
    """Read an answer into `seen`, or the first of it; how it ended."""
    if reply.status != 200:
        return f"{reply.status} {(await reply.json())['error']['code']}"
    events = 0
    async for part in reply.content.iter_any():
        seen.append(part)
        events += part.count(b"\n\n")
        if leave_after and events >= leave_after:
            reply.close()
            return "left"
    return "broken" if b"event: error" in b"".join(seen) else "whole"


async def judge(stack: Stack, made: Sequence[Made], people: Sequence[Person]) -> Verdict:
    """Wait for rest, and compare three ledgers: the provider's, the history, Zion's."""
    verdict = Verdict(made=len(made))
    await eventually(stack.is_at_rest, REST_SECONDS, "every call is settled and delivered")
    served: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in stack.provider.ask("/_control/calls"):
        served[str(call["who"])].append(call)
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in stack.rows(*people):
        rows[row["request_id"]].append(row)
        verdict.sources[row["source"]] += 1
    for each in made:
        verdict.endings[each.ending] += 1
        _judge_call(verdict, each, served[each.tag], rows[each.tag])
    zion = stack.zion.ask("/_control/ledger")["users"]
    for person in people:
        own = [row for tag, found in rows.items() if tag.startswith(f"{person.name}.") for row in found]
        total = {metric: sum(row[metric] for row in own) for metric in METRICS}
        if total != zion.get(person.name, dict.fromkeys(METRICS, 0)):
            verdict.problems.append(f"{person.name}: Zion has {zion.get(person.name)}, the history {total}")
        if held := stack.held(person):
            verdict.problems.append(f"{person.name}: {held} still held: {stack.ledger_of(person)}")
    if stack.set_aside():
        verdict.problems.append(f"{stack.set_aside()} batches were set aside")
    return verdict


def _judge_call(verdict: Verdict, made: Made, served: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    charged = {metric: sum(row[metric] for row in rows) for metric in METRICS}
    about = f"{made.tag} ({made.ending}, {[row['source'] for row in rows]}, charged {charged})"
    if len(served) > 1 or charged["requests"] > 1:
        verdict.problems.append(f"{about}: sent or counted {len(served)} times")
    if not served:
        # It was admitted, and its worker died: nobody knows whether it left, so it counts as if it had.
        if made.ending == "whole" or not {row["source"] for row in rows} <= {"reaped", "partial"}:
            verdict.problems.append(f"{about}: never reached the provider")
        _add(verdict.apart, charged)
        return
    actual = {"input": served[0]["prompt_tokens"], "output": served[0]["pieces"], "requests": 1}
    # What the provider reported is exact, whoever was still there to hear it.
    is_exact = made.ending == "whole" or {row["source"] for row in rows} == {"provider"}
    _add(verdict.whole if is_exact else verdict.apart, charged)
    if is_exact and (charged != actual or len(rows) != 1):
        verdict.problems.append(f"{about}: the provider served {actual}")
    if not is_exact and not _is_bounded(made, charged, actual["input"]):
        verdict.problems.append(f"{about}: received {made.received}, prompt {actual['input']}, held {CAP}")


def _is_bounded(made: Made, charged: Mapping[str, int], prompt: int) -> bool:
    is_input_known = prompt <= charged["input"] <= prompt + MARGIN
    return charged["requests"] == 1 and is_input_known and made.received <= charged["output"] <= CAP


def _add(total: dict[str, int], amounts: Mapping[str, int]) -> None:
    for metric, amount in amounts.items():
        total[metric] += amount


KILL_SETTINGS = {
    "LEASE_SECONDS": "8",
    "STREAM_DRAIN_SECONDS": "3",
    "ZION_BATCH_TIMEOUT_SECONDS": "2",
    "RETRY_SWEEP_SECONDS": "2",
    "RATE_LIMIT_REQUESTS": "100000",
    "REDIS_TIMEOUT_SECONDS": "0.5",
}


def kills(stack: Stack, calls: int) -> dict[int, Callable[[], Awaitable[None]]]:
    """A gateway's worker, the Celery worker and Redis, each killed in the middle of the load and started again."""

    async def gateway() -> None:
        for pid in stack.gateway_workers():
            os.kill(pid, signal.SIGKILL)  # its supervisor starts another

    async def worker() -> None:
        stack.worker.kill()
        stack.restart(stack.worker)

    async def ledger() -> None:
        stack.redis.kill()
        stack.redis.start()

    return {calls // 5: gateway, calls * 2 // 5: worker, calls * 3 // 5: ledger}


async def _main(calls: int, people: int, *, with_kills: bool) -> int:
    with running(settings=KILL_SETTINGS) as stack:
        everybody = stack.people(people, "load")
        begin = asyncio.get_running_loop().time()
        made = await Load(stack, everybody, calls=calls, events=kills(stack, calls) if with_kills else None).run()
        seconds = asyncio.get_running_loop().time() - begin
        verdict = await judge(stack, made, everybody)
    lines = [f"{calls} calls of {people} people in {seconds:.1f} s", *verdict.lines()]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(verdict.problems))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--kill", action="store_true", help="kill a gateway worker, the Celery worker and Redis")
    chosen = parser.parse_args()
    sys.exit(asyncio.run(_main(chosen.calls, chosen.people, with_kills=chosen.kill)))
