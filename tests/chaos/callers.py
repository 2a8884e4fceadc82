"""The load: people who call in every way that ends differently, and remember what they received."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.calls import CHAT, COMPLETIONS, chat, completion
from tests.people import Person
from tests.stack import Stack

GENEROUS = 16_384  # QUOTA_GENEROUS_OUTPUT_TOKENS: what a call without a cap may hold at most
_PATIENT, _IMPATIENT = aiohttp.ClientTimeout(total=40.0), aiohttp.ClientTimeout(total=0.15)
_WORDS = ("Is the café open?", "Wie spät ist es?", "こんにちは、元気ですか", "Tell me about pelicans. " * 20)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a call is made, and what the provider plays. `leave_after`: events until the client leaves, 0: at once."""

    kind: str
    is_stream: bool
    script: Mapping[str, Any]
    cap: int | None = 400
    choices: int = 1
    leave_after: int | None = None
    path: str = CHAT

    @property
    def bound(self) -> int:
        """The most output that can have been held for it."""
        return self.choices * (GENEROUS if self.cap is None else self.cap)


@dataclass(frozen=True, slots=True)
class Made:
    """A call as its client saw it. `ending` is whole, left, broken, or a refusal's status and code."""

    tag: str
    person: Person
    shape: Shape
    ending: str
    received: int
    call_id: str


def shape(chance: random.Random) -> Shape:
    """One way to call, by chance."""
    kinds = {
        _plain: 24, _stream: 20, _slow_stream: 14, _no_usage: 10, _left: 12, _broken: 10, _refused: 6, _choices: 6,
        _older: 4, _uncapped: 6,
    }  # fmt: skip
    return chance.choices(list(kinds), list(kinds.values()))[0](chance)


def _plain(chance: random.Random) -> Shape:
    wait = chance.choice((0, 0, 50, 600))
    return Shape("plain", is_stream=False, script={"pieces": chance.randint(1, 80), "first_byte_ms": wait})


def _stream(chance: random.Random) -> Shape:
    return Shape(
        "stream", is_stream=True, script={"pieces": chance.randint(1, 80), "interval_ms": chance.choice((0, 3))}
    )


def _slow_stream(chance: random.Random) -> Shape:
    pieces = chance.randint(20, 300)
    return Shape("slow stream", is_stream=True, script={"pieces": pieces, "interval_ms": chance.choice((10, 20))})


def _no_usage(chance: random.Random) -> Shape:
    script = {"pieces": chance.randint(1, 60), "usage": chance.choice(("omit", "null"))}
    return Shape("no usage", is_stream=chance.random() < 0.5, script=script)


def _left(chance: random.Random) -> Shape:
    if chance.random() < 0.3:
        return Shape("left plain", is_stream=False, script={"pieces": 20, "first_byte_ms": 400}, leave_after=0)
    script = {"pieces": 380, "interval_ms": chance.choice((2, 5))}
    return Shape("left stream", is_stream=True, script=script, leave_after=chance.randint(1, 60))


def _broken(chance: random.Random) -> Shape:
    how = chance.choice(("break_after", "end_after", "error_event_after", "break_before_headers", "hang_after"))
    value = True if how == "break_before_headers" else chance.randint(1, 30)
    is_stream = how != "break_before_headers" or chance.random() < 0.5
    return Shape("broken", is_stream=is_stream, script={"pieces": 50, how: value})


def _refused(chance: random.Random) -> Shape:
    status = chance.choice((400, 404, 429, 500, 503))
    return Shape("refused", is_stream=chance.random() < 0.5, script={"status": status})


def _choices(chance: random.Random) -> Shape:
    script = {"pieces": chance.randint(1, 60), "usage": chance.choice(("normal", "omit"))}
    return Shape("choices", is_stream=chance.random() < 0.5, script=script, choices=chance.randint(2, 4), cap=100)


def _older(chance: random.Random) -> Shape:
    return Shape("older", is_stream=False, script={"pieces": chance.randint(1, 40)}, path=COMPLETIONS)


def _uncapped(chance: random.Random) -> Shape:
    return Shape("uncapped", is_stream=chance.random() < 0.5, script={"pieces": chance.randint(1, 60)}, cap=None)


@dataclass(slots=True)
class Callers:
    """`per_second` calls by anybody at any gateway, until told to stop; what was made is in `made`."""

    stack: Stack
    people: Sequence[Person]
    per_second: float
    seed: int
    made: list[Made] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Make calls; returns when the last has ended."""
        chance, running = random.Random(self.seed), set[asyncio.Task[None]]()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            while not self.stopped.is_set():
                number = len(self.made) + len(running)
                call = self._call(session, f"{chance.getrandbits(40):010x}.{number}", random.Random(chance.random()))
                task = asyncio.ensure_future(call)
                running.add(task)
                task.add_done_callback(running.discard)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopped.wait(), chance.expovariate(self.per_second))
            await asyncio.gather(*running)

    async def _call(self, session: aiohttp.ClientSession, tag: str, chance: random.Random) -> None:
        person, how = chance.choice(self.people), shape(chance)
        url = chance.choice(self.stack.urls) + how.path
        timeout = _IMPATIENT if how.leave_after == 0 else _PATIENT
        headers = {**person.headers, "X-Request-Id": tag}
        seen: list[bytes] = []
        call_id = ""
        try:
            async with session.post(url, json=_body(tag, how, chance), headers=headers, timeout=timeout) as reply:
                call_id = reply.headers.get("x-sentinel-request-id", "")
                ending = await _read(reply, seen, how.leave_after)
        except TimeoutError:
            ending = "left" if timeout is _IMPATIENT else "timeout"
        except aiohttp.ClientError:
            ending = "broken"
        received = b"".join(seen).count(b'"delta":{"content"') if how.is_stream else 0
        self.made.append(Made(tag, person, how, ending, received, call_id))


def _body(tag: str, how: Shape, chance: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {"stream": True} if how.is_stream else {}
    if how.cap is not None:
        fields["max_tokens"] = how.cap
    if how.choices > 1:
        fields["n"] = how.choices
    if how.path == COMPLETIONS:
        return completion(tag, **fields)
    text = [{"role": "user", "content": chance.choice(_WORDS)}]
    return chat(tag, script=dict(how.script), messages=text, **fields)


async def _read(reply: aiohttp.ClientResponse, seen: list[bytes], leave_after: int | None) -> str:
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
