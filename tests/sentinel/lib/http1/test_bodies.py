"""Request bodies that are sent piece by piece: as fast as they are taken, and no longer than anybody wants them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sentinel.lib.http1.response import Broken
from tests.limits.make import loop_turns
from tests.sentinel.lib.http1.origin import OK, Peer, answering, pooling, read, serving
from tests.sentinel.lib.http1.wire import Exchange, outcome
from tests.wait import eventually

PIECE = b"x" * 65_536
PIECES = 320  # 20 MB: more than sockets hold
ERROR = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"


def head(length: int) -> bytes:
    return b"POST /v1/files HTTP/1.1\r\nhost: origin\r\ncontent-length: %d\r\n\r\n" % length


HEAD, ENDLESS = head(6), head(PIECES * len(PIECE))


class Body:
    """Pieces that count how many were asked for; an exception among them is raised, an Event waited for."""

    def __init__(self, *pieces: object) -> None:
        self._pieces = pieces
        self.asked = 0
        self.is_over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                    continue
                assert isinstance(piece, bytes)
                self.asked += 1
                yield piece
        finally:
            self.is_over = True


def large() -> Body:
    return Body(*[PIECE] * PIECES)


async def test_a_body_arrives_in_order_and_its_connection_is_used_again() -> None:
    async with serving(answering(OK)) as server, pooling(server.url) as pool:
        answers = [
            await read(await pool.request(HEAD, body=aiter(Body(b"ab", b"", b"cd", b"ef")))),
            await read(await pool.request(HEAD, body=aiter(Body(b"uvwxyz")))),
        ]

        assert answers == [b"ok", b"ok"]
        assert server.requests == [HEAD + b"abcdef", HEAD + b"uvwxyz"]
        assert server.connections == 1


async def test_the_head_leaves_before_the_body_is_there() -> None:
    gate = asyncio.Event()
    async with serving(answering(OK)) as server, pooling(server.url) as pool:
        written: list[bool] = []
        asked = asyncio.ensure_future(
            pool.request(HEAD, lambda: written.append(bool(server.connections)), aiter(Body(gate, b"abcdef")))
        )
        await eventually(lambda: written)
        assert not server.requests

        gate.set()

        assert await read(await asked) == b"ok"
        assert len(written) == 1


async def test_a_large_body_arrives_whole() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async with serving(handler) as server, pooling(server.url) as pool:
        assert await read(await pool.request(ENDLESS, body=aiter(large()))) == b"ok"

        assert server.requests[0].count(b"x") == PIECES * len(PIECE)


async def test_an_origin_that_reads_nothing_is_sent_no_more_than_fits() -> None:
    may_read = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await may_read.wait()
        await peer.request()
        await peer.send(OK)

    body = large()
    async with serving(handler) as server, pooling(server.url) as pool:
        asked = asyncio.ensure_future(pool.request(ENDLESS, body=aiter(body)))
        await eventually(lambda: body.asked)
        stalled = await _stands_still(body)

        assert stalled < PIECES * 3 // 4
        assert not asked.done()
        may_read.set()
        assert await read(await asked) == b"ok"
        assert body.asked == PIECES


async def test_a_caller_who_gives_up_meanwhile_closes_the_connection() -> None:
    body = large()

    async def handler(peer: Peer) -> None:
        await eventually(lambda: asked.done())
        await peer.gone()

    async with serving(handler) as server, pooling(server.url) as pool:
        asked = asyncio.ensure_future(pool.request(ENDLESS, body=aiter(body)))
        await eventually(lambda: body.asked)
        await _stands_still(body)

        asked.cancel()
        await asyncio.wait([asked])

        assert asked.cancelled()
        await eventually(lambda: server.open == 0)


@pytest.mark.parametrize("is_reading", [False, True])
async def test_an_answer_before_the_end_of_the_body_is_the_answer_and_the_connection_is_not_used_again(
    is_reading: bool,
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.some()
        await peer.send(ERROR)
        if is_reading:
            await peer.gone()

    body = large()
    async with serving(handler) as server, pooling(server.url) as pool:
        response = await pool.request(ENDLESS, body=aiter(body))

        assert (response.status, await read(response)) == (413, b"no")
        assert body.asked < PIECES
        await eventually(lambda: not pool._open)
        assert not pool._idle
        await eventually(lambda: server.open == 0)


async def test_an_answer_while_the_next_piece_is_not_there_is_taken_with_that_piece() -> None:
    gate = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.some()
        await peer.send(ERROR)
        await peer.gone()

    body = Body(b"abc", gate, b"def")
    async with serving(handler) as server, pooling(server.url) as pool:
        asked = asyncio.ensure_future(pool.request(HEAD, body=aiter(body)))
        await eventually(lambda: server.peers and server.peers[0].sent)
        gate.set()
        response = await asked

        assert (response.status, await read(response)) == (413, b"no")
        await eventually(lambda: server.open == 0)
        assert b"def" not in server.received


@pytest.mark.parametrize("resets", [False, True])
async def test_an_origin_that_breaks_in_the_middle_is_broken_and_the_rest_is_not_asked_for(resets: bool) -> None:
    async def handler(peer: Peer) -> None:
        await peer.some()
        if resets:
            peer.reset()

    body = large()
    async with serving(handler) as server, pooling(server.url) as pool:
        with pytest.raises(Broken):
            await pool.request(ENDLESS, body=aiter(body))

        assert body.asked < PIECES
        await eventually(lambda: not pool._open)
        assert server.connections == 1


@pytest.mark.parametrize("error", [ValueError("no such model"), asyncio.CancelledError()])
async def test_a_body_that_fails_closes_the_connection_and_its_error_is_the_callers(error: BaseException) -> None:
    async def handler(peer: Peer) -> None:
        await peer.gone()

    async with serving(handler) as server, pooling(server.url) as pool:
        with pytest.raises(type(error)):
            await pool.request(HEAD, body=aiter(Body(b"abc", error)))

        await eventually(lambda: server.open == 0)
        assert bytes(server.received) in {HEAD + b"abc", b""}, "half a request, and nothing more"
        assert not pool._idle


async def test_a_body_that_fails_after_the_answer_came_is_not_asked_any_more() -> None:
    exchange = Exchange()
    body = Body(b"abc", b"def", ValueError())

    exchange.feed(OK)
    await exchange.connection.send(aiter(body), exchange.response)

    assert (await outcome(exchange.response))[2:] == (b"ok", "complete")
    assert body.asked == 1
    assert b"abc" not in exchange.wire.written


async def test_an_answer_between_two_pieces_is_the_last_of_its_connection() -> None:
    gate, exchange = asyncio.Event(), Exchange()
    sending = asyncio.ensure_future(exchange.connection.send(aiter(Body(b"abc", gate, b"def")), exchange.response))
    await loop_turns(3)

    exchange.feed(OK)
    gate.set()
    await sending

    assert exchange.wire.written.endswith(b"abc")
    assert exchange.wire.is_aborted
    assert not exchange.released


async def test_pieces_wait_while_what_was_written_waits() -> None:
    exchange = Exchange()
    exchange.connection.pause_writing()
    sending = asyncio.ensure_future(exchange.connection.send(aiter(Body(b"abc", b"def")), exchange.response))
    await loop_turns(5)

    before = exchange.wire.written
    exchange.connection.resume_writing()
    await sending

    assert not before.endswith(b"abc")
    assert exchange.wire.written == before + b"abcdef"
    exchange.feed(OK)
    assert exchange.may_be_used_again


async def test_a_connection_that_is_lost_while_pieces_wait_wakes_their_sender() -> None:
    exchange = Exchange()
    exchange.connection.pause_writing()
    sending = asyncio.ensure_future(exchange.connection.send(aiter(Body(b"abc")), exchange.response))
    await loop_turns(5)

    exchange.end(ConnectionResetError("reset"))
    await asyncio.wait_for(sending, 5)

    assert (await outcome(exchange.response))[::3] == (0, "broken")
    assert b"abc" not in exchange.wire.written


async def _stands_still(body: Body) -> int:
    """How many pieces were asked for once no more are."""
    seen = [-1, body.asked]

    def is_still() -> bool:
        seen.append(body.asked)
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    await eventually(is_still)
    return body.asked
