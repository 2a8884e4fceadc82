"""Images, sound, embeddings, responses and moderations: what passes, what is charged, and however such a call ends."""

import asyncio
import base64
import json
from hashlib import sha256
from typing import Any

import orjson
import pytest

from tests import raw
from tests.calls import call, events, request
from tests.flows.history import row_of
from tests.flows.test_endings import assert_error_event
from tests.people import Person
from tests.raw import Connection, Cut, connected
from tests.stack import Stack
from tests.wait import eventually, until

BOUNDARY = "a-boundary-of-ours"
SOUND = bytes(range(256)) * 2000  # half a megabyte with every byte in it
EMBEDDINGS, IMAGES, SPEECH = "/v1/embeddings", "/v1/images/generations", "/v1/audio/speech"
TRANSCRIPTIONS = "/v1/audio/transcriptions"


def form(*, file: bytes = SOUND, **fields: str) -> bytes:
    """A multipart form of fields and one file."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    head = 'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    marks = [f"--{BOUNDARY}\r\n{part}".encode() for part in parts]
    return b"".join([*marks, f"--{BOUNDARY}\r\n{head}".encode(), file, f"\r\n--{BOUNDARY}--\r\n".encode()])


def upload(person: Person, body: bytes, path: str = TRANSCRIPTIONS) -> bytes:
    """The bytes of a call with a form."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return raw.request("POST", path, headers=person.headers | kind, body=body)


def chunked(person: Person, body: bytes, size: int) -> bytes:
    """The same without a declared length."""
    lines = [f"POST {TRANSCRIPTIONS} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in person.headers.items()]
    lines += [f"Content-Type: multipart/form-data; boundary={BOUNDARY}", "", ""]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return "\r\n".join(lines).encode() + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def embed(who: str, **fields: Any) -> dict[str, Any]:
    """The body of a call for embeddings."""
    return {"model": "text-embedding-3-small", "user": who, "input": ["Is the café open?", "No."], **fields}


def images(who: str, **fields: Any) -> dict[str, Any]:
    """The body of a call for images."""
    return {"model": "gpt-image-1", "user": who, "prompt": "A café by the harbour", **fields}


def respond(who: str, script: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The body of a call for a response."""
    metadata = {"who": who, **({"sandbox": json.dumps(script)} if script else {})}
    return {"model": "gpt-4o", "input": "Is the café open?", "metadata": metadata, **fields}


def verbatim(body: bytes, content_type: str, **script: Any) -> dict[str, Any]:
    """A script that answers with these very bytes."""
    return {"verbatim": base64.b64encode(body).decode(), "content_type": content_type, **script}


async def test_a_form_goes_up_byte_for_byte_and_its_model_is_recorded(stack: Stack) -> None:
    ada = stack.person("ada")
    body = form(model="gpt-4o-transcribe", user=ada.name)

    answer = await raw.exchange(stack.url, upload(ada, body))

    row = await row_of(stack, ada)
    seen = stack.provider_calls(ada)[0]
    assert answer.status == 200
    assert seen["body_bytes"] == len(body)
    assert seen["content_type"] == f"multipart/form-data; boundary={BOUNDARY}"
    assert [part["sha256"] for part in seen["parts"] if part["name"] == "file"] == [sha256(SOUND).hexdigest()]
    assert (row["model"], row["endpoint"], row["source"]) == ("gpt-4o-transcribe", "audio", "provider")
    assert (row["input"], row["output"], row["requests"]) == (seen["prompt_tokens"], seen["pieces"], 1)


@pytest.mark.parametrize("size", [1000, 60_000])
async def test_a_form_without_a_declared_length_is_the_same(stack: Stack, size: int) -> None:
    ada = stack.person("ada")
    body = form(model="gpt-4o-transcribe", user=ada.name)

    whole = await raw.exchange(stack.url, upload(ada, body))
    in_chunks = await raw.exchange(stack.url, chunked(ada, body, size))

    first, second = stack.provider_calls(ada)
    assert (whole.status, in_chunks.status) == (200, 200)
    assert first["sha256"] == second["sha256"]


async def test_an_upload_that_its_client_cuts_costs_nothing(stack: Stack) -> None:
    ada = stack.person("ada")
    async with connected(stack.url) as connection:
        await connection.send(upload(ada, form(model="gpt-4o-transcribe", user=ada.name))[:100_000])
        await eventually(lambda: stack.held(ada), 5.0, "the call is admitted before its body is there")

        connection.abort()

        row = await row_of(stack, ada)
    assert (row["source"], row["input"], row["output"], row["requests"]) == ("partial", 0, 0, 0)


async def test_a_form_above_the_cap_is_refused_before_it_is_read(stack: Stack) -> None:
    ada = stack.person("ada")
    with_small_cap = {"MAX_UPLOAD_BYTES": "100000"}
    with stack.another_gateway(with_small_cap) as (url, _):
        async with connected(url) as connection:
            await connection.send(upload(ada, form(model="whisper-1"))[:1000])
            declared = await connection.answer()
        async with connected(url) as connection:
            await connection.send(chunked(ada, form(model="whisper-1"), 60_000))
            undeclared = await connection.head()  # what it says besides may be lost: we do not read to the end

    assert (declared.status, declared.error["code"]) == (413, "payload_too_large")
    assert undeclared.status == 413
    assert stack.held(ada) == 0


async def test_a_model_that_is_not_allowed_is_found_in_a_form(stack: Stack) -> None:
    ada = stack.person("ada")
    with stack.another_gateway({"MODELS_ALLOW": "whisper-1,gpt-4o"}) as (url, _):
        allowed = await raw.exchange(url, upload(ada, form(model="whisper-1", user=ada.name)))
        other = await raw.exchange(url, upload(ada, form(model="gpt-4o-transcribe", user=ada.name)))
        unnamed = await raw.exchange(url, upload(ada, form(user=ada.name)))
        twice = form(model="whisper-1").replace(b"--" + BOUNDARY.encode(), form(model="gpt-4o-transcribe")[:30], 1)
        broken = await raw.exchange(url, upload(ada, twice))

    assert allowed.status == 200
    assert (other.status, other.error["code"]) == (400, "model_not_allowed")
    assert (unnamed.status, unnamed.error["code"]) == (400, "model_not_allowed")
    assert broken.status == 400
    assert stack.held(ada) == 0


async def test_json_where_a_form_is_needed_is_refused(stack: Stack) -> None:
    ada = stack.person("ada")

    answer = await call(stack.url, ada, {"model": "whisper-1"}, TRANSCRIPTIONS)

    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


async def test_a_provider_that_refuses_an_upload_early_is_heard(stack: Stack) -> None:
    ada = stack.person("ada")
    stack.provider.tell("/_control/script", {"status": 413, "error": {"message": "Too large."}})

    answer = await raw.exchange(stack.url, upload(ada, form(file=SOUND * 8, model="whisper-1", user=ada.name)))

    row = await row_of(stack, ada)
    assert (answer.status, row["requests"], row["input"]) == (413, 0, 0)


async def test_an_answer_of_any_form_whose_client_leaves_is_read_to_its_end_and_exact(stack: Stack) -> None:
    ada = stack.person("ada")
    stack.provider.tell("/_control/script", {"first_byte_ms": 300})
    async with connected(stack.url) as connection:
        await connection.send(request(ada, embed(ada.name), EMBEDDINGS))
        await eventually(lambda: stack.provider_calls(ada), 5.0, "the provider has the call")

        connection.abort()

        row = await row_of(stack, ada)
    seen = stack.provider_calls(ada)[0]
    assert seen["completed"]
    assert seen["left_at"] is None
    assert (row["source"], row["input"], row["output"], row["requests"]) == ("provider", seen["prompt_tokens"], 0, 1)


async def test_an_answer_of_any_form_that_the_provider_cuts_is_cut_and_charged_as_held(stack: Stack) -> None:
    ada = stack.person("ada")
    body = orjson.dumps({"data": [{"b64_json": "A" * 100_000}], "usage": {"input_tokens": 5, "output_tokens": 7}})
    stack.provider.tell("/_control/script", verbatim(body, "application/json", split=[40_000], break_after=2))

    with pytest.raises(Cut):
        await call(stack.url, ada, images(ada.name), IMAGES)

    row = await row_of(stack, ada)
    assert (row["source"], row["requests"]) == ("partial", 1)
    assert row["output"] == 6240  # of the dearest image: nobody knows how far the provider came


async def test_images_report_their_tokens_and_large_ones_pass(stack: Stack) -> None:
    ada = stack.person("ada")
    usage = {"input_tokens": 11, "output_tokens": 4160, "total_tokens": 4171}
    body = orjson.dumps({"created": 1, "data": [{"b64_json": "A" * 3_000_000}], "usage": usage})
    stack.provider.tell("/_control/script", verbatim(body, "application/json", split=[65_000]))

    answer = await call(stack.url, ada, images(ada.name), IMAGES)

    row = await row_of(stack, ada)
    assert answer.body == body
    assert (row["source"], row["input"], row["output"], row["requests"]) == ("provider", 11, 4160, 1)


async def test_the_usage_of_a_huge_event_is_found_and_settled_before_it_ends(stack: Stack) -> None:
    ada = stack.person("ada")
    usage = {"total_tokens": 4171, "input_tokens": 11, "output_tokens": 4160}
    completed = {"type": "image_generation.completed", "b64_json": "A" * 2_500_000, "usage": usage}
    stream = b"event: image_generation.completed\ndata: " + orjson.dumps(completed) + b"\n\n"
    stack.provider.tell("/_control/script", verbatim(stream, "text/event-stream", split=[60_001]))

    answer = await call(stack.url, ada, images(ada.name, stream=True), IMAGES)

    row = await row_of(stack, ada)
    assert answer.body == stream
    assert (row["source"], row["input"], row["output"], row["requests"]) == ("provider", 11, 4160, 1)


async def test_a_stream_of_images_that_is_cut_is_charged_as_held(stack: Stack) -> None:
    ada = stack.person("ada")
    stack.provider.tell("/_control/script", {"break_after": 1})

    with pytest.raises(Cut) as cut:
        await call(stack.url, ada, images(ada.name, stream=True, partial_images=3), IMAGES)

    row = await row_of(stack, ada)
    assert_error_event(cut.value.received, "upstream_error")
    assert (row["source"], row["output"], row["requests"]) == ("partial", 6540, 1)


async def test_an_image_that_may_cost_more_than_is_left_is_refused_and_not_made_smaller(stack: Stack) -> None:
    ben = stack.person("ben", limits={"output": 6239})

    refused = await call(stack.url, ben, images(ben.name), IMAGES)
    free = await call(stack.url, ben, images(ben.name, model="dall-e-2"), IMAGES)

    assert (refused.status, refused.error["code"]) == (429, "quota_exceeded")
    assert free.status == 200  # such an image is not paid in tokens
    assert [seen["model"] for seen in stack.provider_calls(ben)] == ["dall-e-2"]


async def test_where_the_provider_reports_no_tokens_requests_are_counted(stack: Stack) -> None:
    ada = stack.person("ada")

    moderated = await call(stack.url, ada, {"input": "x", "user": ada.name}, "/v1/moderations")
    spoken = await call(stack.url, ada, {"model": "tts-1", "input": "x", "voice": "alloy"}, SPEECH)
    heard = await raw.exchange(stack.url, upload(ada, form(model="whisper-1")))

    assert [answer.status for answer in (moderated, spoken, heard)] == [200, 200, 200]
    assert spoken.headers["content-type"].startswith("audio/")
    until(lambda: len(stack.rows(ada)) == 3, 5.0, "all are in the history")
    assert stack.at_zion(ada) == {"input": 0, "output": 0, "requests": 3}
    assert {row["source"] for row in stack.rows(ada)} == {"provider"}
    assert stack.held(ada) == 0


async def test_a_transcript_as_events_is_exact(stack: Stack) -> None:
    ada = stack.person("ada")

    answer = await raw.exchange(stack.url, upload(ada, form(model="gpt-4o-transcribe", user=ada.name, stream="true")))

    row = await row_of(stack, ada)
    assert [orjson.loads(event)["type"] for event in events(answer.body)][-1] == "transcript.text.done"
    assert (row["source"], row["output"]) == ("provider", stack.provider_calls(ada)[0]["pieces"])


async def test_a_response_is_settled_before_its_terminal_event_and_not_stored(stack: Stack) -> None:
    ada = stack.person("ada")

    plain = await call(stack.url, ada, respond(ada.name), "/v1/responses")
    streamed = await call(stack.url, ada, respond(ada.name, stream=True), "/v1/responses")

    seen = stack.provider_calls(ada)
    assert plain.json()["store"] is False
    assert [orjson.loads(one["body"])["store"] for one in seen] == [False, False]
    assert b"event: response.completed" in streamed.body
    assert stack.held(ada) == 0  # at once: each was settled before its end left
    until(lambda: len(stack.rows(ada)) == 2, 5.0, "both are in the history")
    assert {row["source"] for row in stack.rows(ada)} == {"provider"}
    assert stack.at_zion(ada) == stack.at_provider(ada)


async def test_a_response_whose_client_leaves_is_charged_what_it_received(stack: Stack) -> None:
    ada = stack.person("ada")
    script = {"pieces": 2000, "interval_ms": 5}
    async with connected(stack.url) as connection:
        body = respond(ada.name, script, stream=True, max_output_tokens=3000)
        await connection.send(request(ada, body, "/v1/responses"))
        received = await _read(connection, b"response.output_text.delta", 30)

        connection.abort()

        row = await row_of(stack, ada)
    deltas = received.count(b"event: response.output_text.delta")
    assert (row["source"], row["requests"]) == ("partial", 1)
    assert deltas - 1 <= row["output"] <= stack.provider_calls(ada)[0]["pieces"]


@pytest.mark.parametrize("member", ["store", "background"])
async def test_what_would_be_kept_or_reported_later_is_refused(stack: Stack, member: str) -> None:
    ada = stack.person("ada")

    answer = await call(stack.url, ada, {**respond(ada.name), member: True}, "/v1/responses")

    assert (answer.status, answer.error["param"]) == (400, member)
    assert stack.provider_calls(ada) == []


async def test_a_stream_hears_comments_while_its_provider_thinks_if_that_is_switched_on(stack: Stack) -> None:
    ada = stack.person("ada")
    with stack.another_gateway({"SSE_KEEPALIVE_SECONDS": "0.1"}) as (url, _):
        slow = respond(ada.name, {"first_byte_ms": 700}, stream=True)
        answer = await call(url, ada, slow, "/v1/responses")
        broken = respond(ada.name, {"first_byte_ms": 700, "status": 429}, stream=True)
        with pytest.raises(Cut) as cut:
            await call(url, ada, broken, "/v1/responses")

        whole = verbatim(b'{"data":[]}', "application/json", first_byte_ms=700)
        stack.provider.tell("/_control/script", whole)
        with pytest.raises(Cut) as unstreamed:
            await call(url, ada, images(ada.name, stream=True), IMAGES)
        stack.provider.tell("/_control/script", {**whole, "split": [4], "break_after": 1})
        with pytest.raises(Cut) as torn:
            await call(url, ada, images(ada.name, stream=True), IMAGES)
        until(lambda: not stack.held(ada), 5.0, "all are settled at once, none is left to the reaper")

    assert unstreamed.value.received.endswith(b'event: error\ndata: {"data":[]}\n\n')
    assert_error_event(torn.value.received, "upstream_error")
    assert answer.body.startswith(b": keep-alive\n\n: keep-alive\n\n")
    assert b"event: response.completed" in answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert cut.value.received.startswith(b": keep-alive\n\n")
    assert b"event: error\ndata: {" in cut.value.received
    assert stack.held(ada) == 0


async def _read(connection: Connection, mark: bytes, number: int) -> bytes:
    """Read the head and the body until a mark has come so often."""
    head = await connection.head()
    received = b""
    async for part in connection.parts(head):
        received += part
        if received.count(mark) >= number:
            break
    return received


async def test_embeddings_of_many_texts_come_down_whole(stack: Stack) -> None:
    ada = stack.person("ada")
    body = embed(ada.name, input=["a b c"] * 300, dimensions=1024, encoding_format="float")

    answers = await asyncio.gather(*(call(stack.url, ada, body, EMBEDDINGS) for _ in range(3)))

    assert all(len(answer.json()["data"]) == 300 for answer in answers)
    until(lambda: stack.at_zion(ada)["requests"] == 3, 5.0, "all are delivered")
    assert stack.at_zion(ada) == {"input": 2700, "output": 0, "requests": 3}
