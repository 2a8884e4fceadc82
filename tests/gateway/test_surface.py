"""The endpoints from their route to the bytes that go up, and back: a real provider connection, a real ledger."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import objects, runtime
from gateway.access import Access
from gateway.api import UPLOADS, api
from gateway.upstream import Upstream
from limits.values import Principal
from sentinel.lib.asgi import LeanHandler
from tests.gateway.test_proxy import Stage, events
from tests.gateway.test_upstream import make_config
from tests.limits.make import configure, make_limits, make_principal, store
from tests.sentinel.lib.http1.origin import Peer, Server, serving

ADA, BEN = make_principal("ada"), make_principal("ben")
USAGE = b'"usage":{"input_tokens":7,"output_tokens":5,"prompt_tokens":7,"total_tokens":7}'
FORM = b'--XyZ\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--XyZ--\r\n'
MULTIPART = b"multipart/form-data; boundary=XyZ"


class Here(Stage):
    """A runtime whose caller is Ada, and whose provider answers `answer` to everything."""

    is_draining = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.authenticator = self
        self.answer = b"{%b}" % USAGE
        self.kind = b"application/json"
        self.server = Server()

    async def identify(self, _authorization: str | None, _address: str) -> Principal:
        return ADA

    async def provide(self, peer: Peer) -> None:
        while await peer.request():
            head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (self.kind, len(self.answer))
            await peer.send(head + self.answer)

    async def ask(
        self, method: str, target: str, body: bytes = b"", kind: bytes = b"application/json"
    ) -> tuple[int, bytes]:
        """Status and body of a call; the client stays until it is answered."""
        path, _, query = target.partition("?")
        sent: list[Any] = []
        over = asyncio.Event()
        messages = [{"type": "http.request", "body": body[:9], "more_body": True}, {"body": body[9:], "type": ""}]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"a"), (b"content-length", b"%d" % len(body))]
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": [*headers, *([(b"content-type", kind)] if kind else [])], "client": ("127.0.0.1", 5),
            "server": ("a", 80), "scheme": "http",
        }  # fmt: skip
        handler = LeanHandler(Access(None), 10_000, uploads=UPLOADS, max_upload_bytes=100_000)
        await handler(scope, receive, send)
        over.set()
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    async def refusal(self, *call: Any) -> str:
        """The code of the error that a call gets."""
        return str(orjson.loads((await self.ask(*call))[1])["error"]["code"])


@pytest.fixture
async def here(online: object, tmp_path: Path) -> AsyncIterator[Here]:
    store(*make_limits(100_000, 100_000))
    made = Here(tmp_path)
    async with serving(made.provide) as made.server:
        made.upstream = Upstream(make_config(made.server.url + "/v1"))  # type: ignore[assignment]
        runtime._current[:] = [made]  # type: ignore[list-item]  # what calls need of it
        yield made
        runtime._current.clear()
        await made.upstream.close()  # type: ignore[attr-defined]
    made.journal.close()


def test_the_routes_whose_bodies_are_taken_as_they_come_are_there() -> None:
    names = {operation.url_name for _, router in api._routers for view in router.path_operations.values()
             for operation in view.operations}  # fmt: skip

    assert UPLOADS - {"passthrough"} <= names


@pytest.mark.parametrize(
    ("path", "body", "model", "figures"),
    [
        ("/embeddings", b'{"model":"e","input":"x" }', "e", (7, 5)),
        ("/responses", b'{"model":"r","input":"x" }', "r", (7, 5)),
        ("/moderations", b'{"input":"x" }', "omni-moderation-latest", (7, 5)),
        ("/images/generations", b'{"model":"gpt-image-1","prompt":"x" }', "gpt-image-1", (7, 5)),
        ("/audio/speech", b'{"model":"tts-1","input":"x" }', "tts-1", (7, 5)),
    ],
)
async def test_a_json_call_goes_to_its_endpoint_and_is_charged_what_it_reports(
    here: Here, path: str, body: bytes, model: str, figures: tuple[int, int]
) -> None:
    status, answer = await here.ask("POST", "/v1" + path, body)

    assert (status, answer) == (200, here.answer)
    [asked] = here.server.requests
    assert asked.startswith(b"POST /v1%b HTTP/1.1\r\n" % path.encode())
    grown = body[:-2] + b',"store":false,"max_output_tokens":16384}' if path == "/responses" else body
    assert asked.endswith(b"\r\n\r\n" + grown)
    assert [(event.model, event.input, event.output) for event in events()] == [(model, *figures)]


@pytest.mark.parametrize(
    "path", ["/images/edits", "/images/variations", "/audio/transcriptions", "/audio/translations"]
)
async def test_a_form_goes_up_as_it_came_and_is_named_by_what_it_says(here: Here, path: str) -> None:
    form = FORM % b"a-model"

    status, answer = await here.ask("POST", "/v1" + path, form, MULTIPART)

    assert (status, answer) == (200, here.answer)
    [asked] = here.server.requests
    assert asked.startswith(b"POST /v1%b HTTP/1.1\r\n" % path.encode())
    assert b"content-type: " + MULTIPART in asked
    assert asked.endswith(b"\r\n\r\n" + form)
    assert [(event.model, event.input, event.output) for event in events()] == [("a-model", 7, 5)]


async def test_a_form_must_be_one_and_name_a_model_that_may_be_used(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("POST", "/v1/audio/transcriptions")
    assert await here.refusal(*at, b"{}") == "unsupported_media_type"
    assert await here.refusal(*at, b"x", b"multipart/form-data") == "invalid_form"

    configure(monkeypatch, models_allow="whisper-1")
    assert await here.refusal(*at, FORM % b"gpt-4o-transcribe", MULTIPART) == "model_not_allowed"
    assert await here.refusal(*at, b"--XyZ--\r\n", MULTIPART) == "model_not_allowed"
    assert here.server.requests == []
    assert {(event.input, event.output, event.requests) for event in events()} == {(0, 0, 0)}
    assert (await here.ask(*at, FORM % b"whisper-1", MULTIPART))[0] == 200


async def test_a_response_is_stored_only_where_stored_ones_may_be_read_and_is_its_creators_then(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.answer = b'{"id":"resp_1","output":[{"id":"msg_1"}],%b}' % USAGE
    at, body = ("POST", "/v1/responses"), b'{"model":"r","input":"x"}'

    await here.ask(*at, body)
    assert orjson.loads(here.server.requests[-1].partition(b"\r\n\r\n")[2])["store"] is False
    assert await objects.owned(ADA, ["resp_1"]) == set()
    assert await here.refusal("GET", "/v1/responses/resp_1") == "endpoint_not_allowed"

    configure(monkeypatch, passthrough_allow="GET /v1/responses/*")
    await here.ask(*at, body)
    assert b"store" not in here.server.requests[-1]
    assert await objects.owned(ADA, ["resp_1", "msg_1"]) == {"resp_1", "msg_1"}
    charged = len(events())
    assert (await here.ask("GET", "/v1/responses/resp_1"))[0] == 200
    assert [(event.input, event.requests) for event in events()[charged:]] == [(0, 0)]


async def test_a_body_may_name_only_the_callers_objects(here: Here) -> None:
    await objects.claim(ADA, ["resp_1"])
    await objects.claim(BEN, ["resp_2"])
    at = ("POST", "/v1/responses")

    assert (await here.ask(*at, b'{"model":"r","input":"x","previous_response_id":"resp_1"}'))[0] == 200
    for foreign in (b'"previous_response_id":"resp_2"', b'"input":[{"id":"resp_2"}]'):
        assert await here.refusal(*at, b'{"model":"r",%b}' % foreign) == "object_not_found"
    assert len(here.server.requests) == 1


async def test_what_is_not_opened_is_closed_also_to_nobody_in_particular(here: Here) -> None:
    for call in (("GET", "/v1/files"), ("POST", "/v1/files"), ("DELETE", "/v1/x/y"), ("GET", "/v1")):
        assert await here.refusal(*call) == "endpoint_not_allowed"
    assert here.server.requests == []


async def test_what_is_opened_goes_up_with_its_query_and_only_to_ones_own_objects(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, passthrough_allow="GET /v1/files, GET /v1/files/**, POST /v1/files")
    await objects.claim(ADA, ["file-1"])
    await objects.claim(BEN, ["file-2"])
    here.answer, here.kind = b"%b" % USAGE, b"application/octet-stream"

    assert await here.ask("GET", "/v1/files/file-1/content?a=b%20c") == (200, here.answer)
    assert here.server.requests[-1].startswith(b"GET /v1/files/file-1/content?a=b%20c HTTP/1.1\r\n")
    for foreign in (
        "/v1/files/file-2/content",
        "/v1/files/file-3",
        "/v1/files?after=file-2",
        "/v1/files?before=file-2",
    ):
        assert await here.refusal("GET", foreign) == "object_not_found"
    assert await here.refusal("GET", "/v1/files?a=b c") == "invalid_request"
    assert await here.refusal("DELETE", "/v1/files/file-1") == "endpoint_not_allowed"
    assert len(here.server.requests) == 1
    assert [(event.input, event.requests) for event in events()] == [(0, 0)]


async def test_a_list_shows_ones_own_and_what_is_uploaded_becomes_ones_own(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, passthrough_allow="GET /v1/files, POST /v1/files, POST /v1/threads")
    here.answer = b'{"id":"file-1","object":"file"}'
    form = b'--XyZ\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--XyZ--\r\n'

    assert await here.ask("POST", "/v1/files", form, MULTIPART) == (200, here.answer)
    assert here.server.requests[-1].endswith(b"\r\n\r\n" + form)
    assert await objects.owned(ADA, ["file-1"]) == {"file-1"}

    here.answer = b'{"object":"list","data":[{"id":"file-1"},{"id":"file-2"}],"has_more":false}'
    assert orjson.loads((await here.ask("GET", "/v1/files"))[1])["data"] == [{"id": "file-1"}]

    for here.kind in (b"text/plain", b"application/x+json", b"text/event-stream", b""):
        assert orjson.loads((await here.ask("GET", "/v1/files"))[1])["data"] == [{"id": "file-1"}]

    here.kind, here.answer = b"application/json", b'{"id":"thread_1"}'
    assert await here.ask("POST", "/v1/threads", b"", b"") == (200, here.answer)
    assert await here.ask("POST", "/v1/threads", b'{"metadata":{}}') == (200, here.answer)
    assert here.server.requests[-1].endswith(b'\r\n\r\n{"metadata":{}}')
    assert await here.refusal("POST", "/v1/threads", b"x" * 10_000_000) == "payload_too_large"

    seen, naming = len(here.server.requests), b'{"thread_id":"thread_2"}'
    for kind in (
        b"application/x+json",
        b"text/json",
        b"application/x-www-form-urlencoded",
        b"multipart/mixed; boundary=x",
    ):
        assert await here.refusal("POST", "/v1/threads", naming, kind) == "unsupported_media_type"
    assert await here.refusal("POST", "/v1/threads", naming) == "object_not_found"
    assert len(here.server.requests) == seen
    assert await here.refusal("POST", "/v1/threads", naming, b"text/plain") == "invalid_json"
    assert naming not in here.server.requests[-1]
