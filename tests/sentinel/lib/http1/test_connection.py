"""What bytes mean: framing, and what may follow on the same connection."""

import pytest

from sentinel.lib.http1.connection import Connection
from tests.sentinel.lib.http1.origin import CHUNKED, OK, REQUEST
from tests.sentinel.lib.http1.test_cuts import HEAD, STREAM, UNTIL_END
from tests.sentinel.lib.http1.wire import Exchange, Wire, outcome


async def test_informational_heads_and_trailers_leave_no_trace() -> None:
    exchange = Exchange()

    exchange.feed(STREAM)

    body = b'data: {"a":1}\n\ndata: [DONE]\n\n'
    assert await outcome(exchange.response) == (200, [(b"transfer-encoding", b"chunked")], body, "complete")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("fields", [b"", b"content-length: 7\r\n"])
async def test_answers_without_a_body(status: bytes, fields: bytes) -> None:
    exchange = Exchange()

    exchange.feed(b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n")

    assert (await outcome(exchange.response))[2:] == (b"", "complete")
    assert exchange.may_be_used_again


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (OK, True),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), True),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: x, Close\r\n\r\n"), False),
        (OK.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (OK.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), True),
        (b"\r\n" + OK, True),
        (OK + b"\r\n", True),  # tolerated before an answer, and it cannot be one
    ],
)
async def test_whether_a_connection_is_kept(answer: bytes, is_kept: bool) -> None:
    exchange = Exchange()

    exchange.feed(answer)

    assert (await outcome(exchange.response))[2:] == (b"ok", "complete")
    assert exchange.may_be_used_again == is_kept


@pytest.mark.parametrize(
    "behind", [b"H", b"x", b"HTTP/1.1 200 OK\r\n", OK, OK + OK, b"\r\n\r\nHTTP/1.1 200 OK\r\nx: y"]
)
async def test_what_follows_an_answer_never_meets_the_next_request(behind: bytes) -> None:
    together, apart = Exchange(), Exchange()

    together.feed(OK + behind)
    apart.feed(OK, behind)

    for exchange in (together, apart):
        assert (await outcome(exchange.response))[2:] == (b"ok", "complete")
        assert not exchange.connection.is_usable
        assert exchange.wire.is_aborted


async def test_an_answer_before_the_request_has_left_is_the_last() -> None:
    exchange = Exchange()
    exchange.wire.unwritten = 1

    exchange.feed(OK)

    assert (await outcome(exchange.response))[2:] == (b"ok", "complete")
    assert not exchange.released
    assert exchange.wire.is_aborted


async def test_an_answer_on_an_idle_connection_closes_it() -> None:
    exchange = Exchange()
    exchange.feed(OK)

    exchange.feed(b"HTTP/1.1 408 Request Timeout\r\n")

    assert exchange.wire.is_aborted
    assert not exchange.connection.is_usable


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 099 No\r\n\r\n",
        b"HTTP/1.1 000 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nwhatever",
        HEAD + b"no colon\r\n\r\n",
        HEAD + b"a: b\r\n folded\r\n\r\n",
        HEAD + b"a: b\x00c\r\n\r\n",
        HEAD + b"a\x00: b\r\n\r\n",
        HEAD + b"a : b\r\n\r\n",
        HEAD.replace(b"\r\n", b"\n") + b"content-length: 0\n\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok",
        HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\nok",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 99999999999999999999999999\r\n\r\n",
    ],
)
async def test_what_is_not_http_breaks_before_there_is_a_head(head: bytes) -> None:
    exchange = Exchange()

    exchange.feed(head)

    assert (await outcome(exchange.response))[::3] == (0, "broken")
    assert exchange.wire.is_aborted


FILL = b"x" * 1000


@pytest.mark.parametrize("pieces", [1, 70])
@pytest.mark.parametrize(
    ("before", "between"),
    [
        (HEAD, b"a: " + FILL + b"\r\n"),
        (HEAD + b"a: ", FILL),
        (HEAD, FILL),
        (b"HTTP/1.1 200 ", FILL),
        (b"", b"HTTP/1.1 102 Processing\r\na: " + FILL + b"\r\n\r\n"),
        (CHUNKED + b"2\r\nok\r\n1;", FILL),
        (CHUNKED + b"2\r\nok\r\n0\r\n", b"a: " + FILL + b"\r\n"),
        (CHUNKED + b"2\r\nok\r\n0\r\na: ", FILL),
    ],
    ids=["fields", "value", "name", "reason", "informational", "extension", "trailers", "trailer"],
)
async def test_what_has_no_end_is_cut_off(before: bytes, between: bytes, pieces: int) -> None:
    exchange = Exchange()

    exchange.feed(before)
    exchange.feed(*[between * (70 // pieces)] * pieces)

    assert (await outcome(exchange.response))[3] == "broken"
    assert exchange.wire.is_aborted


async def test_a_large_head_is_taken_and_a_larger_one_not_though_a_body_follows() -> None:
    large, larger = Exchange(), Exchange()

    large.feed(HEAD + (b"a: " + FILL + b"\r\n") * 64 + b"content-length: 100000\r\n\r\n" + FILL * 100)
    larger.feed(HEAD + (b"a: " + FILL + b"\r\n") * 66 + b"content-length: 100000\r\n\r\n" + FILL * 100)

    assert (await outcome(large.response))[3] == "complete"
    assert (await outcome(larger.response))[::3] == (0, "broken")


async def test_long_bodies_of_many_pieces_are_not_mistaken_for_heads() -> None:
    exchange = Exchange()

    exchange.feed(CHUNKED, *[b"1\r\nx\r\n"] * 50_000, b"0\r\n\r\n")

    status, _, body, end = await outcome(exchange.response)
    assert (status, len(body), end) == (200, 50_000, "complete")


@pytest.mark.parametrize(
    ("begun", "error", "end"),
    [
        (b"", None, "broken"),
        (b"HTTP/1.1 200 OK\r\ncontent-len", None, "broken"),
        (HEAD + b"content-length: 5\r\n\r\nok", None, "broken"),
        (CHUNKED + b"2\r\nok\r\n", None, "broken"),
        (CHUNKED + b"2\r\nok\r\n0\r\n", None, "broken"),
        (HEAD + b"\r\nok", None, "complete"),
        (HEAD + b"transfer-encoding: gzip\r\n\r\nok", None, "complete"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", None, "complete"),
        (HEAD + b"\r\n", None, "complete"),
        (HEAD + b"\r\nok", ConnectionResetError("reset"), "broken"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", None, "broken"),
    ],
)
async def test_whether_the_end_of_the_connection_is_the_end_of_the_answer(
    begun: bytes, error: Exception | None, end: str
) -> None:
    exchange = Exchange()

    exchange.feed(begun)
    exchange.end(error)

    assert (await outcome(exchange.response))[2:] == (b"ok" if b"ok" in begun else b"", end)
    assert not exchange.released
    assert exchange.lost_count == 1


async def test_our_own_close_is_never_the_end_of_an_answer() -> None:
    exchange = Exchange()
    exchange.feed(UNTIL_END)

    exchange.connection.abort()
    exchange.connection.connection_lost(None)

    assert (await outcome(exchange.response))[2:] == (b"to the end", "broken")


async def test_a_second_exchange_begins_afresh() -> None:
    exchange = Exchange()
    exchange.feed(STREAM)

    second = exchange.connection.exchange(REQUEST)
    exchange.end()

    assert (await outcome(second))[::3] == (0, "broken"), "the first answer's head is not the second's"


@pytest.mark.parametrize("ends", [True, False])
async def test_what_comes_before_the_connection_is_handed_over_spoils_it(ends: bool) -> None:
    connection, wire = Connection(Exchange()), Wire()

    if ends:
        connection.connection_lost(None)
    else:
        connection.data_received(OK)
    connection.connection_made(wire)

    assert wire.is_aborted
    assert not connection.is_usable
