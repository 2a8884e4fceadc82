from base64 import b64decode
from typing import Any

import openai
import pytest

from sentinel.sandbox.provider_speech import audio
from tests.sandbox.calls import ask, events, last_call
from tests.servers import Served

PATH = "/v1/audio/speech"
BODY: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "hello world"}


@pytest.mark.parametrize(("form", "kind"), [("mp3", "audio/mpeg"), ("wav", "audio/wav"), ("opus", "audio/opus")])
def test_spoken_audio_comes_in_chunks_and_is_always_the_same(
    client: openai.OpenAI, provider: Served, form: Any, kind: str
) -> None:
    provider.tell("/_control/script", {"audio_bytes": 5000})
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="hello world", response_format=form, extra_body={"user": "ada"}
    ) as reply:
        spoken = b"".join(reply.iter_bytes())

    assert spoken == audio(5000)
    assert (reply.headers["content-type"], reply.headers["transfer-encoding"]) == (kind, "chunked")
    call = last_call(provider)
    assert (call["who"], call["prompt_tokens"], call["pieces"], call["stream"]) == ("ada", 2, 5, False)


def test_events_carry_the_audio_and_end_with_usage(provider: Served) -> None:
    reply = ask(provider, {**BODY, "stream_format": "sse", "instructions": "hello"}, PATH)

    *deltas, done = events(reply)
    assert b"".join(b64decode(delta["audio"]) for delta in deltas) == audio(8192)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 3, "output_tokens": 8, "total_tokens": 11},
    }
    assert "event:" not in reply.text
    call = last_call(provider)
    assert (call["stream"], call["pieces"]) == (True, 8)


def test_audio_breaks_off_and_usage_is_odd_when_told(client: openai.OpenAI, provider: Served) -> None:
    provider.tell("/_control/script", {"usage": "omit", "error_event_after": 3})
    assert len(events(ask(provider, {**BODY, "stream_format": "sse"}, PATH))) == 3 + 1
    provider.tell("/_control/script", {"usage": "zero"})
    assert events(ask(provider, {**BODY, "stream_format": "sse"}, PATH))[-1]["usage"]["output_tokens"] == 0
    provider.tell("/_control/script", {"break_after": 2})
    with pytest.raises(openai.APIConnectionError):
        client.audio.speech.create(**BODY)

    assert last_call(provider)["pieces"] == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"input": ""},
        {"input": "a" * 4097},
        {"voice": None},
        {"speed": 5},
        {"speed": "fast"},
        {"response_format": "midi"},
        {"stream_format": "sse", "model": "tts-1"},
        {"stream_format": "tape"},
    ],
)
def test_a_bad_call_is_refused(provider: Served, fields: dict[str, Any]) -> None:
    assert ask(provider, {**BODY, **fields}, PATH).status_code == 400
