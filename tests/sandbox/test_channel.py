from typing import Any

import pytest

from sentinel.sandbox.channel import Channel, Reply


async def test_a_cut_needs_the_server_it_knows() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    with pytest.raises(TypeError, match="uvicorn"):
        await Channel(receive, send).reset()


def test_a_reply_on_the_wire_is_http() -> None:
    assert Reply(200, b"{}", (("x-a", "b"),)).on_the_wire() == (
        b"HTTP/1.1 200 Sandbox\r\nx-a: b\r\ncontent-length: 2\r\n\r\n{}"
    )


async def test_a_client_seen_leaving_ends_a_pause_and_is_reported() -> None:
    seen = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    channel = Channel(receive, send)
    channel.on_gone = lambda: seen.append("gone")

    await channel.pause(3600)

    assert seen == ["gone"]
    channel.close()
