"""A request's body as the guard reads it: in pieces, or whole under a cap. Heads are tested with the handler."""

from typing import Any

import pytest

from sentinel.exceptions import PayloadTooLarge
from sentinel.lib.guard import Gone, Receive, incoming, read_whole

GONE = {"type": "http.disconnect"}


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def receiving(*messages: dict[str, Any]) -> Receive:
    """What a client sends; whoever asks for more than that fails."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return receive


async def test_a_body_comes_in_the_pieces_that_it_was_sent_in_up_to_its_end() -> None:
    receive = receiving(piece(b"ab"), piece(b""), piece(b"c", more=False), piece(b"of the next"))

    assert [part async for part in incoming(receive)] == [b"ab", b"", b"c"]


async def test_a_message_without_members_is_the_end_of_an_empty_body() -> None:
    assert [part async for part in incoming(receiving({"type": "http.request"}))] == [b""]
    assert await read_whole(receiving({"type": "http.request"}), 0) == b""


@pytest.mark.parametrize("before", [[], [piece(b"ab")], [piece(b"ab"), piece(b"c")]])
async def test_a_client_that_leaves_before_the_end_is_gone(before: list[dict[str, Any]]) -> None:
    parts: list[bytes] = []

    async def read_into(found: list[bytes]) -> None:
        async for part in incoming(receiving(*before, GONE)):
            found += (part,)

    with pytest.raises(Gone):
        await read_into(parts)
    with pytest.raises(Gone):
        await read_whole(receiving(*before, GONE), 100)

    assert parts == [message["body"] for message in before]


@pytest.mark.parametrize(
    "pieces",
    [[b"x" * 10], [b"x" * 4, b"x" * 6], [b"x" * 10, b""], [b"", b"x" * 10], [b"x"] * 10],
)
async def test_a_body_up_to_the_cap_is_read_whole(pieces: list[bytes]) -> None:
    messages = [piece(part, more=at < len(pieces)) for at, part in enumerate(pieces, 1)]

    assert await read_whole(receiving(*messages), 10) == b"x" * 10


@pytest.mark.parametrize(
    "messages",
    [
        [piece(b"x" * 11, more=False)],
        [piece(b"x" * 6), piece(b"x" * 5)],
        [piece(b"x" * 10), piece(b"x", more=False)],
    ],
)
async def test_a_longer_one_is_refused_as_soon_as_that_is_known_and_closes_the_connection(
    messages: list[dict[str, Any]],
) -> None:
    with pytest.raises(PayloadTooLarge) as refused:
        await read_whole(receiving(*messages), 10)

    assert refused.value.headers["Connection"] == "close"
    assert "10 bytes" in refused.value.message
