from typing import Any

from gateway.responses import RelayResponse, StreamResponse


def test_the_providers_headers_can_be_read_as_text() -> None:
    response = RelayResponse(200, [(b"content-type", b"application/json"), (b"x", b"\xe4")], b"{}")

    assert list(response.items()) == [("content-type", "application/json"), ("x", "ä")]
    assert (response.status_code, response.content, response.streaming) == (200, b"{}", False)
    response.close()


async def test_a_stream_passes_itself_on_and_tells_its_owner_when_nobody_wants_it() -> None:
    happened: list[Any] = []

    async def relay(send: Any) -> None:
        happened.append(send)

    async def send(_message: Any) -> None: ...

    response = StreamResponse(200, [], relay, lambda: happened.append("abandoned"))

    await response.send_to(send)
    response.close()

    assert happened == [send, "abandoned"]
    assert response.streaming
