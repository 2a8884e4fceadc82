"""Processes killed in the middle: whoever got a whole answer is charged exactly for it, once."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from sentinel.launch.process import Child
from tests.calls import call, chat, request
from tests.load import KILL_SETTINGS, MARGIN, Load, judge, kills
from tests.people import Person
from tests.raw import Answer, Connection, Cut, Head, connected
from tests.stack import Stack, running, workers_of
from tests.wait import eventually

pytestmark = pytest.mark.journey
CALLS, PEOPLE = 600, 20
SLOW = {"pieces": 60, "interval_ms": 15}


@pytest.fixture(scope="module")
def fragile() -> Iterator[Stack]:
    """A stack whose processes are killed, started again by whoever killed them."""
    with running(settings=KILL_SETTINGS) as stack:
        yield stack


async def running_streams(stack: Stack, person: Person, number: int) -> list["asyncio.Task[Answer]"]:
    """Slow streams through the first gateway, all of which have begun at the provider."""
    body = chat(person.name, script=SLOW, stream=True, max_tokens=100)
    tasks = [asyncio.ensure_future(call(stack.url, person, body)) for _ in range(number)]

    def have_all_begun() -> bool:
        return len([each for each in stack.provider_calls(person) if each["pieces"]]) == number

    await eventually(have_all_begun)
    return tasks


def charged(stack: Stack, person: Person) -> list[tuple[str, int, int, int]]:
    """What the history says about each call of this person."""
    return sorted((row["source"], row["input"], row["output"], row["requests"]) for row in stack.rows(person))


def exact(stack: Stack, person: Person) -> list[tuple[str, int, int, int]]:
    """What it must say when all is exact."""
    return sorted(("provider", each["prompt_tokens"], each["pieces"], 1) for each in stack.provider_calls(person))


async def read_until_cut(connection: Connection, head: Head) -> bytes:
    """All that comes before the connection is cut."""
    try:
        return b"".join([part async for part in connection.parts(head)]) + b" and a clean end"
    except Cut as cut:
        return cut.received


async def read_and_kill(connection: Connection, gateway: Child, *, pieces: int) -> bytes:
    """Read a stream, kill its gateway after so many pieces, and read on until the connection is cut."""
    head, received = await connection.head(), b""
    try:
        async for part in connection.parts(head):
            received += part
            if received.count(b'"content":"') > pieces:
                gateway.kill()
    except Cut:
        return received
    raise AssertionError("the stream ended as if nothing had happened")


async def test_a_load_survives_the_death_of_gateway_worker_celery_worker_and_redis(fragile: Stack) -> None:
    people = fragile.people(PEOPLE, "load")

    made = await Load(fragile, people, calls=CALLS, events=kills(fragile, CALLS)).run()

    verdict = await judge(fragile, made, people)
    assert verdict.problems == []
    assert verdict.endings["whole"] > 0.7 * CALLS
    fragile.wait_for(fragile.worker)


async def test_streams_that_run_when_redis_dies_reach_their_end_and_are_charged_when_it_is_back(
    fragile: Stack,
) -> None:
    ada, ben = fragile.people(2)
    await eventually(lambda: fragile.gateways[0].is_ready(), 25.0)
    streams = await running_streams(fragile, ada, 8)
    fragile.redis.kill()
    try:
        begin = asyncio.get_running_loop().time()
        refused = await call(fragile.url, ben, chat(ben.name))
        seconds = asyncio.get_running_loop().time() - begin
        answers = await asyncio.gather(*streams)
    finally:
        fragile.redis.start()

    assert (refused.status, refused.error["code"]) == (503, "quota_store_unavailable")
    assert seconds < 1.0
    assert all(answer.body.endswith(b"data: [DONE]\n\n") for answer in answers)
    await eventually(lambda: len(fragile.rows(ada)) == len(streams), 20.0, "the journal's calls are delivered")
    assert charged(fragile, ada) == exact(fragile, ada)
    assert fragile.held(ada) == 0
    await eventually(lambda: fragile.gateways[0].is_ready())


async def test_what_only_the_journal_of_a_killed_worker_knew_is_charged_by_its_successor(fragile: Stack) -> None:
    ada = fragile.person("ada")
    await eventually(lambda: fragile.gateways[0].is_ready(), 25.0)
    streams = await running_streams(fragile, ada, 8)
    fragile.redis.kill()
    try:
        await asyncio.gather(*streams)
        fragile.gateways[0].kill()
    finally:
        fragile.redis.start()
        fragile.restart(fragile.gateways[0])

    await eventually(lambda: len(fragile.rows(ada)) == len(streams), 20.0, "the journal's calls are delivered")
    await eventually(fragile.is_at_rest, 20.0)
    assert charged(fragile, ada) == exact(fragile, ada)
    assert fragile.held(ada) == 0


async def test_a_stream_whose_worker_is_killed_is_reaped_within_its_bounds(fragile: Stack) -> None:
    ada = fragile.person("ada")
    await eventually(lambda: fragile.gateways[0].is_ready(), 25.0)
    script: dict[str, Any] = {"pieces": 2000, "interval_ms": 2}
    async with connected(fragile.url) as connection:
        await connection.send(request(ada, chat(ada.name, script=script, stream=True, max_tokens=1500)))
        received = await read_and_kill(connection, fragile.gateways[0], pieces=400)
    fragile.restart(fragile.gateways[0])

    (row,) = await eventually(lambda: fragile.rows(ada), 20.0, "the call is reaped and delivered")
    assert row["source"] == "reaped"
    assert received.count(b'"content":"') - 1 <= row["output"] <= 1500
    prompt = fragile.provider_calls(ada)[0]["prompt_tokens"]
    assert prompt <= row["input"] <= prompt + MARGIN
    assert fragile.held(ada) == 0


async def test_a_stream_that_outlasts_the_grace_of_a_stopping_gateway_is_told_and_charged_what_it_received(
    fragile: Stack,
) -> None:
    ada = fragile.person("ada")
    await eventually(lambda: fragile.gateways[0].is_ready(), 25.0)
    script: dict[str, Any] = {"pieces": 2000, "interval_ms": 5}
    async with connected(fragile.url) as connection:
        await connection.send(request(ada, chat(ada.name, script=script, stream=True, max_tokens=1500)))
        head = await connection.head()
        os.kill(fragile.gateways[0].pid, signal.SIGTERM)
        received = await read_until_cut(connection, head)
    await eventually(lambda: not fragile.gateways[0].is_running(), 15.0, "the gateway has ended")
    assert fragile.gateways[0].ending() == "exit code 0"
    fragile.restart(fragile.gateways[0])

    assert not received.endswith(b" and a clean end")
    assert b'"code":"shutting_down"' in received
    (row,) = await eventually(lambda: fragile.rows(ada), 20.0, "the call is delivered")
    assert row["source"] == "partial"
    assert received.count(b'"content":"') - 1 <= row["output"] <= 1500
    assert fragile.held(ada) == 0


@pytest.mark.journey
async def test_a_settle_that_comes_after_the_reapers_is_corrected_and_never_counted_twice(
    fragile: Stack,
) -> None:
    ada = fragile.person("ada")
    settings = {"LEASE_SECONDS": "2", "STREAM_DRAIN_SECONDS": "1", "UPSTREAM_IDLE_SECONDS": "60"}
    body = chat(ada.name, script={"pieces": 1500, "interval_ms": 2}, stream=True, max_tokens=1500)
    with fragile.another_gateway(settings) as (url, gateway):
        async with connected(url) as connection:
            await connection.send(request(ada, body))
            head = await connection.head()
            received = [await anext(connection.parts(head))]
            stopped = [gateway.pid, *workers_of(gateway)]  # the supervisor would replace a worker that hangs
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                await eventually(lambda: fragile.rows(ada), 20.0, "the stopped process' call is reaped")
            finally:
                for pid in reversed(stopped):
                    os.kill(pid, signal.SIGCONT)
            received += [part async for part in connection.parts(head)]

    await eventually(lambda: len(fragile.rows(ada)) == 2, 10.0, "the correction is delivered")
    late, reaped = sorted(fragile.rows(ada), key=lambda row: str(row["source"]))
    prompt = fragile.provider_calls(ada)[0]["prompt_tokens"]
    assert b"".join(received).endswith(b"data: [DONE]\n\n")
    assert (reaped["source"], reaped["requests"], late["requests"]) == ("reaped", 1, 0)
    assert late["call_id"] == f"{reaped['call_id']}#1"
    assert reaped["output"] + late["output"] == 1500
    assert prompt <= reaped["input"] + late["input"] <= prompt + MARGIN
    assert fragile.held(ada) == 0
    assert fragile.at_zion(ada)["output"] == 1500
