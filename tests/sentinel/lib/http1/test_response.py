"""The body as its reader gets it: held back while nobody reads, whole or broken, and never silently short."""

import asyncio
from itertools import count

import pytest

from sentinel.lib.http1.connection import BUFFER_BYTES
from sentinel.lib.http1.response import Broken
from tests.sentinel.lib.http1.origin import CHUNKED, OK, REQUEST, Certificate, Peer, answering, pooling, read, serving
from tests.wait import eventually

BLOCK = b"x" * 65_536
BLOCKS = 1024
MOST_WAITING = 1024 * 1024  # one read of either loop goes beyond the mark, and TLS has buffers of its own


async def _much(peer: Peer) -> None:
    while await peer.request():
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (BLOCKS * len(BLOCK)))
        peer.sent = 0
        for _ in range(BLOCKS):
            await peer.send(BLOCK)


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_reader_that_pauses_stops_the_origin_and_memory_stays_bounded(
    certificate: Certificate, is_tls: bool
) -> None:
    tls = certificate.server_side() if is_tls else None
    async with serving(_much, tls) as server, pooling(server.url, tls=certificate.client_side()) as pool:
        response = await pool.request(REQUEST)
        peer, seen = server.peers[0], [-1]

        def is_still() -> bool:
            seen.append(peer.sent)
            return len(seen) > 20 and len(set(seen[-20:])) == 1

        await eventually(is_still, 10.0)
        assert BUFFER_BYTES < response.size <= MOST_WAITING
        assert peer.sent < BLOCKS * len(BLOCK) // 2

        sizes = [len(part) for part in [await response.read_some() for _ in range(3)]]
        rest = await read(response)

        assert max(sizes) <= MOST_WAITING
        assert sum(sizes) + len(rest) == peer.sent == BLOCKS * len(BLOCK)
        assert len(await read(await pool.request(REQUEST))) == BLOCKS * len(BLOCK)
        assert server.connections == 1


async def test_after_the_end_there_is_nothing_for_ever() -> None:
    async with serving(answering(OK)) as server, pooling(server.url) as pool:
        response = await pool.request(REQUEST)

        assert [await response.read_some() for _ in range(5)] == [b"ok", b"", b"", b"", b""]
        assert response.is_complete
        assert response.header(b"content-length") == b"2"
        assert response.header(b"x-other") == b""


@pytest.mark.parametrize(
    ("head", "resets"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n", True),
        (CHUNKED + b"300000\r\n", False),
        (CHUNKED + b"300000\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
    ],
)
async def test_what_came_before_a_cut_is_read_before_the_cut(head: bytes, resets: bool) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        for number in count():
            await peer.send((head if number == 0 else b"") + b"%07d\n" % number)
            if number == 1000:
                break
        if resets:
            await peer.some()  # the client has read it all: a reset may throw away what waits in the kernel
            peer.reset()

    async with serving(handler) as server, pooling(server.url) as pool:
        response = await pool.request(REQUEST)
        body = b""
        while len(body) < 8008:
            body += await response.read_some()
        if resets:
            server.peers[0].reader.feed_data(b"read")

        for _ in range(3):
            with pytest.raises(Broken):
                await response.read_some()

        assert body == b"".join(b"%07d\n" % number for number in range(1001))
        assert not response.is_complete


async def test_a_cut_while_nobody_reads_is_told_after_what_waited() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nok\r\n")

    async with serving(handler) as server, pooling(server.url) as pool:
        response = await pool.request(REQUEST)
        await eventually(lambda: not pool._open)

        assert await response.read_some() == b"ok"
        with pytest.raises(Broken):
            await response.read_some()


@pytest.mark.parametrize("is_clean", [True, False])
async def test_over_tls_an_answer_without_framing_ends_with_the_connection(
    certificate: Certificate, is_clean: bool
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        if not is_clean:
            peer.reset()

    async with (
        serving(handler, certificate.server_side()) as server,
        pooling(server.url, tls=certificate.client_side()) as pool,
    ):
        try:
            body = await read(await pool.request(REQUEST))
        except Broken:
            assert not is_clean
        else:
            assert (is_clean, body) == (True, b"to the end")


async def test_closing_before_the_end_closes_the_connection_at_once() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nok\r\n")
        await peer.gone()

    async with serving(handler) as server, pooling(server.url) as pool:
        response = await pool.request(REQUEST)
        response.close()
        response.close()

        await eventually(lambda: server.open == 0, 1.0)
        assert not pool._open


async def test_closing_after_the_end_keeps_the_connection() -> None:
    async with serving(answering(OK)) as server, pooling(server.url) as pool:
        for _ in range(3):
            response = await pool.request(REQUEST)
            await read(response)
            response.close()

        assert server.connections == 1


async def test_a_cancelled_reader_may_read_on() -> None:
    released = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await released.wait()
        await peer.send(b"2\r\nok\r\n0\r\n\r\n")
        await peer.gone()

    async with serving(handler) as server, pooling(server.url) as pool:
        response = await pool.request(REQUEST)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await response.read_some()
        released.set()

        assert await read(response) == b"ok"


async def test_what_waits_for_a_slow_reader_survives_the_close_of_the_pool() -> None:
    async with serving(_much) as server, pooling(server.url) as pool:
        response = await pool.request(REQUEST)
        await eventually(lambda: response.size > BUFFER_BYTES)
        waiting = response.size

        pool.close()

        assert len(await response.read_some()) == waiting
        with pytest.raises(Broken):
            await response.read_some()
