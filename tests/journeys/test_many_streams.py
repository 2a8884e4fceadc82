"""A thousand open streams on one worker for two minutes: all complete, and new calls are served beside them.

`pytest -rP` shows the report: the worker's memory, and how long the new calls took.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.benchmarks import machine
from tests.benchmarks.clients import percentile
from tests.calls import call, chat, request
from tests.people import Person
from tests.raw import connected
from tests.stack import Stack, running
from tests.wait import eventually

STREAMS, PEOPLE, EVENTS, INTERVAL_MS = 1000, 10, 240, 500
MOST_MEMORY_MB = 200
SETTINGS = {"UPSTREAM_IDLE_SECONDS": "30", "UPSTREAM_FIRST_BYTE_SECONDS": "30", "RATE_LIMIT_REQUESTS": "1000"}
SCRIPT = {"pieces": EVENTS, "interval_ms": INTERVAL_MS}


@pytest.mark.journey
@pytest.mark.timeout(300)
async def test_a_thousand_streams_of_two_minutes_complete_beside_new_calls() -> None:
    with running(gateways=1, settings=SETTINGS) as stack:
        people, cleo = stack.people(PEOPLE, "ada"), stack.person("dora")
        worker = stack.gateway_workers()[0]
        idle = machine.memory_mb(worker)
        streams = [asyncio.ensure_future(_pieces(stack, people[at % PEOPLE])) for at in range(STREAMS)]
        await eventually(lambda: _active(stack, people) == STREAMS, 60.0, "all streams are open")

        taken, memory = [], []
        async for second in _until_done(streams):
            begin = time.perf_counter()
            answer = await call(stack.url, cleo, chat(cleo.name))
            taken.append((time.perf_counter() - begin) * 1000)
            assert answer.status == 200, f"after {second} s: {answer.body!r}"
            memory.append(machine.memory_mb(worker))
        pieces = await asyncio.gather(*streams)
        await eventually(stack.is_at_rest, 30.0, "everything is delivered")
        served = {person.name: (stack.at_provider(person), stack.at_zion(person)) for person in people}

    print(  # noqa: T201 - the report
        f"{STREAMS} streams of {EVENTS} events, one each {INTERVAL_MS} ms; worker {idle:.0f} MB idle, at most "
        f"{max(memory):.0f} MB; {len(taken)} new calls beside them: median {percentile(taken, 0.5):.1f} ms, "
        f"99 of 100 {percentile(taken, 0.99):.1f} ms, longest {max(taken):.1f} ms"
    )
    assert pieces == [EVENTS] * STREAMS
    assert all(provider == zion for provider, zion in served.values()), served
    assert max(memory) <= MOST_MEMORY_MB


async def _pieces(stack: Stack, person: Person) -> int:
    """Read one stream to its end; how many pieces of text it brought."""
    async with connected(stack.url) as connection:
        await connection.send(request(person, chat(person.name, script=SCRIPT, stream=True, max_tokens=EVENTS)))
        head = await connection.head()
        assert head.status == 200
        pieces, last = 0, b""
        async for part in connection.parts(head):
            pieces, last = pieces + part.count(b'"content":"') - part.count(b'"content":""'), part
    assert last.endswith(b"data: [DONE]\n\n")
    return pieces


def _active(stack: Stack, people: list[Person]) -> int:
    return sum(int(stack.ledger_of(person).get("active", "0")) for person in people)


async def _until_done(streams: Sequence[asyncio.Future[int]]) -> AsyncIterator[int]:
    """Each second until all streams have ended."""
    second, waiting = 0, set(streams)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=1.0)
        if waiting:
            second += 1
            yield second
