"""Bytes, compared: what arrives at the provider is what was sent, and what comes down is what the provider sent.

Up: but for the listed changes, an output cap set or lowered and usage asked for. Down: but for the usage event that a
client did not ask for.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from sentinel.sandbox.cast import UNLIMITED
from tests import raw
from tests.calls import CHAT, COMPLETIONS
from tests.journeys import odd
from tests.people import Person
from tests.raw import Answer
from tests.stack import Stack

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
BYTE_BY_BYTE_MOST = 40_000  # bytes; larger answers are torn into larger pieces
SHAPES = {
    CHAT: b'"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "caf\\u00e9"}]',
    COMPLETIONS: b'"prompt": ["one", "two"], "model": "gpt-3.5-turbo"',
    "/v1/responses": b'"input": "caf\\u00e9", "model": "gpt-4.1", "store": false',
    "/v1/embeddings": b'"model": "text-embedding-3-small", "input": ["one", "two"]',
    "/v1/moderations": b'"input": ["one"], "model": "omni-moderation-latest"',
    "/v1/images/generations": b'"model": "gpt-image-1", "prompt": "caf\\u00e9", "n": 1',
    "/v1/audio/speech": b'"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "caf\\u00e9"',
}
CAPS = {CHAT: b"max_completion_tokens", COMPLETIONS: b"max_tokens", "/v1/responses": b"max_output_tokens"}


@pytest.fixture
def stack(journeys_stack: Stack) -> Iterator[Stack]:
    """The stack of the journeys, whose provider behaves again after each test."""
    yield journeys_stack
    journeys_stack.provider.clear("/_control/script")


@pytest.fixture
def ada(stack: Stack) -> Person:
    """Somebody without limits, so that no cap is lowered."""
    return stack.person("ada", limits=UNLIMITED)


async def sent_up(stack: Stack, person: Person, path: str, body: bytes) -> tuple[bytes, Answer]:
    """What arrives at the provider for this body, and the answer. Nobody else calls meanwhile."""
    before = calls_of(stack)

    answer = await raw.exchange(stack.url, raw.request("POST", path, headers=person.headers, body=body))

    assert calls_of(stack) == before + 1, answer.body
    return await kept_body(stack), answer


def calls_of(stack: Stack) -> int:
    """How many calls the provider has seen."""
    number: int = stack.provider.ask("/_control/totals")["calls"]
    return number


async def kept_body(stack: Stack) -> bytes:
    """The body of the provider's last call."""
    return (await raw.exchange(stack.provider.url, raw.request("GET", f"/_control/body?seq={calls_of(stack)}"))).body


def body_of(*members: bytes) -> bytes:
    """An object of these members, with white space around it."""
    return b" {" + b", ".join(members) + b"}\n"


def added(body: bytes, *members: bytes) -> bytes:
    """The same object with members at its end, as the gateway writes them."""
    end = body.rindex(b"}")
    return b",".join([body[:end].rstrip(), *members]) + body[end:]


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("name", odd.MEMBERS)
async def test_a_body_with_odd_members_arrives_as_it_was_sent(stack: Stack, ada: Person, path: str, name: str) -> None:
    cap = [b'"%b": 20' % CAPS[path]] if path in CAPS else []
    first = body_of(odd.MEMBERS[name], SHAPES[path], *cap)
    last = body_of(*cap, SHAPES[path], odd.MEMBERS[name])

    for body in (first, last):
        assert (await sent_up(stack, ada, path, body))[0] == body


@pytest.mark.parametrize("name", odd.MEMBERS)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_stream_only_gains_the_wish_for_usage(stack: Stack, ada: Person, path: str, name: str) -> None:
    body = body_of(odd.MEMBERS[name], SHAPES[path], b'"stream": true', b'"%b": 20' % CAPS[path])

    arrived, _ = await sent_up(stack, ada, path, body)

    assert arrived == added(body, b'"stream_options":{"include_usage":true}')


@pytest.mark.parametrize(
    ("options", "arrives"),
    [
        (b"null", b'{"include_usage":true}'),
        (b"{ }", b'{"include_usage":true}'),
        (b'{"include_usage": true, "x": 1.0}', b'{"include_usage": true, "x": 1.0}'),
        (b'{"x": 1e400 , "include_usage" : false}', b'{"x": 1e400 , "include_usage" : true}'),
        (
            b'{"include_usage": null, "include_obfuscation": false}',
            b'{"include_usage": true, "include_obfuscation": false}',
        ),
        (b'{"include_obfuscation": false}', b'{"include_obfuscation": false,"include_usage":true}'),
    ],
)
async def test_stream_options_gain_the_wish_for_usage_and_keep_the_rest(
    stack: Stack, ada: Person, options: bytes, arrives: bytes
) -> None:
    body = body_of(b'"stream_options": ' + options, SHAPES[CHAT], b'"max_tokens": 20', b'"stream": true')

    arrived, _ = await sent_up(stack, ada, CHAT, body)

    assert arrived == body.replace(b'"stream_options": ' + options, b'"stream_options": ' + arrives)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/images/generations"])
async def test_streams_that_report_usage_unasked_are_not_changed(stack: Stack, ada: Person, path: str) -> None:
    cap = [b'"%b": 20' % CAPS[path]] if path in CAPS else []
    body = body_of(b'"stream" : true', SHAPES[path], *cap)

    assert (await sent_up(stack, ada, path, body))[0] == body


@pytest.mark.parametrize(
    "nulls", [b"", b', "max_tokens" : null', b', "max_completion_tokens": null, "max_tokens":null']
)
async def test_a_chat_without_a_cap_gains_the_granted_one(stack: Stack, nulls: bytes) -> None:
    ada = stack.person("ada", limits={"input": None, "output": 32_000, "requests": None})
    body = body_of(b'"n": 2', SHAPES[CHAT] + nulls, odd.MEMBERS["numbers beyond a double"])

    arrived, answer = await sent_up(stack, ada, CHAT, body)

    cap = answer.headers["x-sentinel-output-cap"].encode()
    if b'"max_completion_tokens": null' in body:
        assert arrived == body.replace(b'"max_completion_tokens": null', b'"max_completion_tokens": ' + cap)
    else:
        assert arrived == added(body, b'"max_completion_tokens":' + cap)


@pytest.mark.parametrize("path", CAPS)
async def test_a_cap_above_what_is_left_is_lowered_where_it_stands(stack: Stack, path: str) -> None:
    eve = stack.person("eve", limits={"input": None, "output": 200, "requests": None})
    body = body_of(b'"%b" :\t4000' % CAPS[path], SHAPES[path], odd.MEMBERS["names twice inside of a member"])

    arrived, answer = await sent_up(stack, eve, path, body)

    cap = int(answer.headers["x-sentinel-output-cap"])
    assert cap in {100, 200}  # the older endpoint is asked two things at once
    assert arrived == body.replace(b"\t4000", b"\t%d" % cap)


async def test_both_caps_are_lowered_each_where_it_stands(stack: Stack) -> None:
    eve = stack.person("eve", limits={"input": None, "output": 200, "requests": None})
    body = body_of(b'"max_tokens": 5000', SHAPES[CHAT], b'"max_completion_tokens": 150')

    arrived, _ = await sent_up(stack, eve, CHAT, body)

    assert arrived == body.replace(b"5000", b"200")


def dictate(stack: Stack, answer: bytes, kind: str, split: object) -> None:
    """Make the provider say just that, torn like that."""
    if split == [1] and len(answer) > BYTE_BY_BYTE_MOST:
        split = [65_521]
    script = {"verbatim": b64encode(answer).decode(), "content_type": kind, "split": split}
    stack.provider.tell("/_control/script", script)


def chat(*, is_stream: bool, wants_usage: bool) -> bytes:
    """A chat call."""
    members: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}], "max_tokens": 9}
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    return json.dumps({**members, "stream": is_stream, **options}).encode()


async def sent_down(stack: Stack, person: Person, path: str, body: bytes) -> Answer:
    """The answer to this body."""
    return await raw.exchange(stack.url, raw.request("POST", path, headers=person.headers, body=body))


@pytest.mark.parametrize("split", odd.SPLITS)
@pytest.mark.parametrize("name", odd.STREAMS)
async def test_a_stream_comes_down_as_the_provider_sent_it(stack: Stack, ada: Person, name: str, split: str) -> None:
    stream, extra = odd.STREAMS[name]
    dictate(stack, stream, "text/event-stream", odd.SPLITS[split])

    asked = await sent_down(stack, ada, CHAT, chat(is_stream=True, wants_usage=True))
    unasked = await sent_down(stack, ada, CHAT, chat(is_stream=True, wants_usage=False))

    assert (asked.status, unasked.status) == (200, 200)
    assert asked.body == stream
    before, found, after = stream.partition(extra) if extra else (stream, b"", b"")
    assert found == extra
    assert unasked.body == before + after


@pytest.mark.parametrize("split", odd.SPLITS)
@pytest.mark.parametrize("name", odd.TYPED_STREAMS)
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/images/generations"])
async def test_a_stream_of_typed_events_comes_down_whole(
    stack: Stack, ada: Person, path: str, name: str, split: str
) -> None:
    stream = odd.TYPED_STREAMS[name]
    dictate(stack, stream, "text/event-stream; charset=utf-8", odd.SPLITS[split])

    answer = await sent_down(stack, ada, path, b'{"stream": true, %b}' % SHAPES[path])

    assert answer.status == 200
    assert answer.body == stream


@pytest.mark.parametrize("split", odd.SPLITS)
@pytest.mark.parametrize("name", odd.ANSWERS)
async def test_a_plain_answer_comes_down_as_the_provider_sent_it(
    stack: Stack, ada: Person, name: str, split: str
) -> None:
    dictate(stack, odd.ANSWERS[name], "application/json; charset=utf-8", odd.SPLITS[split])

    answer = await sent_down(stack, ada, CHAT, chat(is_stream=False, wants_usage=False))

    assert answer.status == 200
    assert answer.body == odd.ANSWERS[name]
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("kind", ["audio/mpeg", "audio/wav", "application/octet-stream"])
@pytest.mark.parametrize("split", ["in one", "in odd pieces"])
async def test_sound_comes_down_as_the_provider_sent_it(stack: Stack, ada: Person, kind: str, split: str) -> None:
    sound = bytes(range(256)) * 64 + b'data: {"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n\r\n\x00\xff' * 3
    dictate(stack, sound, kind, odd.SPLITS[split])

    answer = await sent_down(stack, ada, "/v1/audio/speech", b"{%b}" % SHAPES["/v1/audio/speech"])

    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.body == sound


async def test_a_form_goes_up_as_it_was_sent(stack: Stack, ada: Person) -> None:
    boundary = "odd'boundary()+_,-./:=?"
    line = b"--" + boundary.encode() + b"\r\n"
    sound = b"ID3\x00\xff\r\n--odd\r\n" + bytes(range(256)) * 300
    named = b'Content-Disposition: form-data; name="file"; filename="s p\xc3\xa9ech.mp3"'
    parts = [
        b'content-disposition: form-data; name="x"\r\nX-Odd: 1\r\n\r\n\r\n',
        named + b"\r\ncontent-type: audio/mpeg\r\n\r\n" + sound + b"\r\n",
        b'CONTENT-DISPOSITION: form-data; name="model"\r\n\r\nwhisper-1\r\n',
    ]
    body = b"preamble\r\n" + b"".join(line + part for part in parts) + line[:-2] + b"--\r\nepilogue"
    headers = {**ada.headers, "Content-Type": f'multipart/form-data; boundary="{boundary}"'}
    before = calls_of(stack)

    await raw.exchange(stack.url, raw.request("POST", "/v1/audio/transcriptions", headers=headers, body=body))

    assert calls_of(stack) == before + 1
    assert await kept_body(stack) == body
