"""Connections are used again while that is safe, never beyond; nothing is sent twice; cancelling costs nothing else."""

import asyncio
import random

import pytest

from sentinel.lib.http1.response import Broken, NotSent
from tests.limits.make import loop_turns
from tests.sentinel.lib.http1.origin import (
    CHUNKED,
    OK,
    REQUEST,
    Certificate,
    Handler,
    Peer,
    answering,
    ending,
    pooling,
    read,
    serving,
)
from tests.wait import eventually


@pytest.mark.parametrize(("width", "most"), [(1, 1), (32, 32)])
async def test_two_thousand_calls_need_no_more_connections_than_there_are_at_once(width: int, most: int) -> None:
    async with serving(answering(OK)) as server, pooling(server.url) as pool:

        async def caller() -> None:
            for _ in range(2000 // width):
                assert await read(await pool.request(REQUEST)) == b"ok"

        await asyncio.gather(*(caller() for _ in range(width)))

        assert server.connections <= most
        assert server.requests == [REQUEST] * (2000 // width * width)


async def test_an_exchange_in_flight_is_never_joined_by_another() -> None:
    async with serving(answering(CHUNKED + b"2\r\nok\r\n", OK)) as server, pooling(server.url) as pool:
        first = await pool.request(REQUEST)
        second = await pool.request(REQUEST)

        assert await read(second) == b"ok"
        assert await first.read_some() == b"ok"
        assert server.connections == 2
        first.close()
        await eventually(lambda: server.open == 1)


@pytest.mark.parametrize("answer", [OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), OK + OK, OK + b"HTTP/1"])
async def test_a_connection_that_may_not_be_used_again_is_closed(answer: bytes) -> None:
    async with serving(answering(answer, OK)) as server, pooling(server.url) as pool:
        first = await read(await pool.request(REQUEST))
        second = await read(await pool.request(REQUEST))

        assert first == second == b"ok"
        assert server.connections == 2
        await eventually(lambda: server.open == 1)


async def test_idle_connections_past_their_time_are_closed_instead_of_used() -> None:
    async with serving(answering(OK)) as server, pooling(server.url, idle_seconds=0.05) as pool:
        await asyncio.gather(*(pool.request(REQUEST) for _ in range(3)))
        born = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() > born + 0.1)

        assert await read(await pool.request(REQUEST)) == b"ok"

        assert server.connections == 4
        await eventually(lambda: server.open == 1)


async def test_of_idle_connections_only_so_many_are_kept() -> None:
    async with serving(answering(OK)) as server, pooling(server.url, most_idle=2) as pool:
        await asyncio.gather(*(pool.request(REQUEST) for _ in range(6)))

        await eventually(lambda: server.open == 2)
        assert await read(await pool.request(REQUEST)) == b"ok"
        assert server.connections == 6


@pytest.mark.parametrize("resets", [False, True])
async def test_a_connection_closed_while_idle_is_not_used(resets: bool) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if resets:
            peer.reset()

    async with serving(handler) as server, pooling(server.url) as pool:
        for _ in range(20):
            assert await read(await pool.request(REQUEST)) == b"ok"
            await eventually(lambda: not pool._open)

        assert server.connections == len(server.requests) == 20


async def test_a_connection_that_ends_as_it_is_made_carries_nothing_and_is_forgotten() -> None:
    async def handler(peer: Peer) -> None:
        peer.reset()

    async with serving(handler) as server, pooling(server.url) as pool:
        endings = await asyncio.gather(*(pool.request(REQUEST) for _ in range(200)), return_exceptions=True)

        assert {type(one) for one in endings} <= {NotSent, Broken}
        await eventually(lambda: not pool._open)
        assert not server.requests


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def reset_at_once(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def reset_mid_upload(peer: Peer) -> None:
    await peer.some()
    peer.reset()


async def close_mid_upload(peer: Peer) -> None:
    await peer.some()


@pytest.mark.parametrize(
    ("handler", "request_bytes"),
    [
        (ending(b""), REQUEST),
        (reset_at_once, REQUEST),
        (reset_mid_upload, REQUEST.replace(b": 2", b": 16000002") + b"x" * 16_000_000),
        (close_mid_upload, REQUEST.replace(b": 2", b": 16000002") + b"x" * 16_000_000),
        (ending(b"SSH-2.0-x\r\n"), REQUEST),
        (ending(b"HTTP/1.1 200 OK\r\ncontent-le"), REQUEST),
    ],
    ids=["closed", "reset", "reset in upload", "closed in upload", "not HTTP", "head cut"],
)
async def test_what_fails_once_it_may_have_left_is_broken_and_never_tried_again(
    handler: Handler, request_bytes: bytes
) -> None:
    async with serving(handler) as server, pooling(server.url) as pool:
        for count in range(1, 4):
            with pytest.raises(Broken):
                await pool.request(request_bytes)

            assert server.connections == count
            await eventually(lambda: server.open == 0)
        assert len(server.requests) in {0, 3}


async def test_silence_is_ended_by_the_callers_deadline() -> None:
    async with serving(silent) as server, pooling(server.url) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.request(REQUEST)

        await eventually(lambda: server.open == 0, 1.0)
        assert server.requests == [REQUEST]


async def test_when_all_connections_are_in_use_nothing_is_sent() -> None:
    async with serving(silent) as server, pooling(server.url, most=2) as pool:
        busy = [asyncio.ensure_future(pool.request(REQUEST)) for _ in range(2)]
        await eventually(lambda: len(server.requests) == 2)

        with pytest.raises(NotSent, match="in use") as caught:
            await pool.request(REQUEST)

        assert len(server.requests) == 2
        assert not caught.value.is_late
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await eventually(lambda: not pool._open)
        third = asyncio.ensure_future(pool.request(REQUEST))
        await eventually(lambda: len(server.requests) == 3)
        third.cancel()


async def phases(peer: Peer) -> None:
    """Answers by what is asked: nothing, half, or all."""
    while request := await peer.request():
        if b"/half" in request:
            await peer.send(CHUNKED + b"2\r\nok\r\n")
        elif b"/all" in request:
            await peer.send(OK)


@pytest.mark.parametrize("is_tls", [False, True])
async def test_five_hundred_cancels_leave_nothing_behind(certificate: Certificate, is_tls: bool) -> None:
    dice = random.Random(7)
    tls = certificate.server_side() if is_tls else None
    async with serving(phases, tls) as server, pooling(server.url, tls=certificate.client_side()) as pool:
        before = asyncio.all_tasks()
        tasks: list[asyncio.Task[bytes]] = []

        async def call(path: bytes) -> bytes:
            response = await pool.request(REQUEST.replace(b"/v1/chat/completions", path))
            try:
                return await read(response)
            finally:
                response.close()

        for number in range(500):
            tasks.append(asyncio.ensure_future(call([b"/none", b"/half", b"/all"][number % 3])))
            await loop_turns(dice.randrange(12))
            victim = tasks[-1 - dice.randrange(min(len(tasks), 8))]
            victim.cancel()
            if dice.random() < 0.3:
                victim.cancel()
        for task in tasks:
            task.cancel()
            task.cancel()
        endings = await asyncio.gather(*tasks, return_exceptions=True)

        assert {one if one == b"ok" else type(one) for one in endings} <= {b"ok", asyncio.CancelledError}
        await eventually(lambda: server.open == len(pool._open) == len(pool._idle), 5.0, "the origin sees them closed")
        assert [await call(b"/all") for _ in range(20)] == [b"ok"] * 20
        assert pool._opening == 0
        pool.close()
        await eventually(lambda: server.open == 0)
        await eventually(lambda: len(asyncio.all_tasks()) <= len(before))


async def test_closing_ends_what_runs_and_refuses_what_comes() -> None:
    async with serving(phases) as server, pooling(server.url) as pool:
        half = await pool.request(REQUEST.replace(b"/v1", b"/half"))
        assert await half.read_some() == b"ok"
        waiting = asyncio.ensure_future(pool.request(REQUEST))
        reading = asyncio.ensure_future(half.read_some())
        await eventually(lambda: len(server.requests) == 2)
        opening = asyncio.ensure_future(pool.request(REQUEST))
        await loop_turns(1)

        pool.close()

        endings = await asyncio.gather(waiting, reading, opening, return_exceptions=True)
        assert [type(one) for one in endings] == [Broken, Broken, NotSent]
        with pytest.raises(NotSent, match="closed"):
            await pool.request(REQUEST)
        await eventually(lambda: server.open == 0)
        assert len(server.requests) == 2


async def test_an_answer_in_the_middle_of_an_upload_is_heard_and_the_connection_given_up() -> None:
    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        await eventually(lambda: peer.writer.is_closing() or peer.server.connections > 1)

    large = REQUEST.replace(b": 2", b": 32000002") + b"x" * 32_000_000
    async with serving(handler) as server, pooling(server.url) as pool:
        for number in (1, 2):
            assert await read(await pool.request(large)) == b"ok"
            assert server.connections == number
            assert not pool._idle
