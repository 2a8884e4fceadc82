"""Bodies that go up while they come in: framed as they came, looked at, never held whole."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.forms import FormWatch
from gateway.uploads import Opaque, Upload
from sentinel.exceptions import BadRequest, PayloadTooLarge
from sentinel.lib.guard import Gone

FILE = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"sound" * 40 + b"\r\n"
MODEL = b'--XyZ\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
FORM = FILE + MODEL + FILE + b"--XyZ--\r\n"


class Client:
    """Sends these pieces and then ends its body, or leaves; `checked` is what its upload asked about models."""

    def __init__(self, pieces: Iterable[bytes], *, leaves: bool = False, forbids: bool = False) -> None:
        self._pieces = iter(pieces)
        self._leaves, self._forbids = leaves, forbids
        self.checked: list[str | None] = []

    async def receive(self) -> dict[str, Any]:
        piece = next(self._pieces, None)
        if piece is not None:
            return {"type": "http.request", "body": piece, "more_body": True}
        return {"type": "http.disconnect"} if self._leaves else {"type": "http.request", "body": b""}

    def check(self, model: str | None) -> None:
        self.checked.append(model)
        if self._forbids:
            raise BadRequest(code="model_not_allowed")

    def upload(self, *, length: int | None = None, limit: int = 10_000, is_form: bool = True) -> Upload:
        form = FormWatch(b"XyZ", "model") if is_form else Opaque()
        return Upload(self.receive, length, limit, form, self.check)


async def drain(frames: AsyncIterator[bytes], into: list[bytes]) -> bytes:
    async for frame in frames:
        into += (frame,)
    return b"".join(into)


def dechunked(wire: bytes) -> bytes:
    """The body that a strict reader of chunks sees; it must end with the last of them."""
    body = b""
    while True:
        head, _, wire = wire.partition(b"\r\n")
        size = int(head, 16)
        body, end, wire = body + wire[:size], wire[size : size + 2], wire[size + 2 :]
        assert end == b"\r\n"
        if not size:
            assert wire == b""
            return body


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(FORM)), max_size=8))
def test_a_body_goes_up_as_it_came_in_either_framing(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(FORM)]
    pieces = [FORM[start:end] for start, end in pairwise(places)]

    async def journey() -> tuple[bytes, bytes, list[Upload]]:
        known, chunked = Client(pieces).upload(length=len(FORM)), Client(pieces).upload()
        return await drain(known.framed(), []), await drain(chunked.framed(), []), [known, chunked]

    plain, wire, uploads = asyncio.run(journey())

    assert plain == dechunked(wire) == FORM
    assert [(upload.model, upload.is_complete) for upload in uploads] == [("whisper-1", True)] * 2


async def test_how_long_the_body_is_is_said_as_the_client_said_it() -> None:
    assert Client([]).upload(length=7).framing == b"content-length: 7\r\n"
    assert Client([]).upload(length=0).framing == b"content-length: 0\r\n"
    assert Client([]).upload().framing == b"transfer-encoding: chunked\r\n"


async def test_an_empty_body_has_an_end_and_an_empty_piece_is_not_taken_for_it() -> None:
    assert await drain(Client([]).upload(is_form=False).framed(), []) == b"0\r\n\r\n"
    assert await drain(Client([]).upload(length=0, is_form=False).framed(), []) == b""
    assert dechunked(await drain(Client([b"", b"a", b"", b"b"]).upload(is_form=False).framed(), [])) == b"ab"


async def test_a_body_up_to_the_cap_goes_up_and_a_longer_one_never_ends() -> None:
    up: list[bytes] = []
    at_the_cap, above = Client([b"x" * 50] * 2), Client([b"x" * 50, b"x" * 51])

    assert len(await drain(at_the_cap.upload(length=100, limit=100, is_form=False).framed(), [])) == 100
    upload = above.upload(limit=100, is_form=False)
    with pytest.raises(PayloadTooLarge):
        await drain(upload.framed(), up)

    assert up == []
    assert not upload.is_complete


async def test_a_client_that_leaves_in_the_middle_ends_its_upload_before_the_last_piece_it_sent() -> None:
    up: list[bytes] = []
    upload = Client([FILE, MODEL], leaves=True).upload(length=len(FORM))

    with pytest.raises(Gone):
        await drain(upload.framed(), up)

    assert up == [FILE]
    assert not upload.is_complete


async def test_the_model_is_asked_about_once_and_before_the_last_byte_leaves() -> None:
    client = Client([FORM[at : at + 10] for at in range(0, len(FORM), 10)])
    frames = client.upload(length=len(FORM)).framed()
    asked_by_then, gone_up = [], b""

    async for frame in frames:
        gone_up += frame
        asked_by_then.append((list(client.checked), len(gone_up)))

    assert client.checked == ["whisper-1"]
    first = next(gone for asked, gone in asked_by_then if asked)
    assert len(FILE) < first < len(FILE + MODEL) + 20


@pytest.mark.parametrize("form", [FILE + b"--XyZ--\r\n", b"", b"no form at all"])
async def test_a_form_that_names_no_model_is_asked_about_before_its_last_byte_leaves(form: bytes) -> None:
    client, up = Client([form[:3], form[3:]], forbids=True), list[bytes]()

    with pytest.raises(BadRequest):
        await drain(client.upload(length=len(form)).framed(), up)

    assert client.checked == [None]
    assert len(b"".join(up)) < max(len(form), 1)


async def test_an_empty_name_is_a_name() -> None:
    client = Client([MODEL.replace(b"whisper-1", b"") + b"--XyZ--\r\n"])

    await drain(client.upload().framed(), [])

    assert client.checked == [""]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(FILE + MODEL)), max_size=8))
def test_a_model_that_may_not_be_used_stops_the_upload_before_its_last_byte(cuts: list[int]) -> None:
    form = FILE + MODEL + b"--XyZ--\r\n"
    places = [0, *sorted(cuts), len(form)]
    client = Client([form[start:end] for start, end in pairwise(places)], forbids=True)
    upload, up = client.upload(length=len(form)), list[bytes]()

    with pytest.raises(BadRequest):
        asyncio.run(drain(upload.framed(), up))

    assert client.checked == ["whisper-1"]
    assert len(b"".join(up)) < len(form)
    assert not upload.is_complete


async def test_what_is_no_form_is_not_read() -> None:
    client = Client([FORM])

    upload = client.upload(is_form=False)
    await drain(upload.framed(), [])

    assert (client.checked, upload.model, upload.is_complete) == ([None], "", True)


async def test_however_long_the_body_only_a_few_pieces_are_held() -> None:
    size, number = 256 * 1024, 80
    head, end = FILE.partition(b"sound")[0], b"\r\n--XyZ--\r\n"
    client = Client(_lazily(head, size, number, end))
    frames, gone_up = client.upload(limit=number * size * 2, length=1).framed(), 0

    tracemalloc.start()
    try:
        async for frame in frames:
            gone_up += len(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert gone_up == len(head) + number * size + len(end)
    assert peak < 5 * size


def _lazily(head: bytes, size: int, number: int, end: bytes) -> Iterable[bytes]:
    yield head
    for _ in range(number):
        yield bytes(size)
    yield end


@pytest.mark.parametrize(
    "body",
    [
        b'{"file_id":"x"}',
        b' \r\n\t{"file_id":"x"}',
        b'[{"file_id":"x"}]',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
async def test_what_could_be_read_as_json_does_not_go_up_unread(body: bytes, size: int) -> None:
    sent: list[bytes] = []
    pieces = [body[at : at + size] for at in range(0, len(body), size)]

    with pytest.raises(BadRequest) as refused:
        await drain(Client(pieces).upload(is_form=False).framed(), sent)

    assert refused.value.error_code == "invalid_json"
    assert b"{" not in b"".join(sent)


async def test_opaque_bytes_may_hold_braces_behind_their_beginning() -> None:
    pieces = [b"v=0\r\n", b'{"file_id":"x"}', b"[1]"]

    assert dechunked(await drain(Client(pieces).upload(is_form=False).framed(), [])) == b"".join(pieces)
