from hashlib import sha256
from typing import Any

import openai
import pytest

from sentinel.sandbox.provider_speech import audio
from tests.sandbox.calls import ask, last_call
from tests.servers import Served

SENTENCE = "The café by the harbour is open today — and very quiet."
FILE = ("talk.mp3", audio(40_000), "audio/mpeg")  # 2.5 s
NEW = "gpt-4o-mini-transcribe"
OLD = "whisper-1"


def test_a_newer_model_reports_tokens(client: openai.OpenAI, provider: Served) -> None:
    made = client.audio.transcriptions.create(model=NEW, file=FILE, prompt="hello world", extra_body={"user": "ada"})

    assert made.text == SENTENCE
    assert made.usage is not None
    assert made.usage.type == "tokens"
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (27, 13, 40)
    assert made.usage.input_token_details is not None
    assert (made.usage.input_token_details.audio_tokens, made.usage.input_token_details.text_tokens) == (25, 2)
    call = last_call(provider)
    assert (call["who"], call["model"], call["prompt_tokens"], call["pieces"]) == ("ada", NEW, 27, 13)
    [file] = [part for part in call["parts"] if part["filename"]]
    assert (file["name"], file["filename"], file["bytes"]) == ("file", "talk.mp3", 40_000)
    assert file["sha256"] == sha256(FILE[1]).hexdigest()


def test_the_older_model_reports_seconds(client: openai.OpenAI, provider: Served) -> None:
    made = client.audio.transcriptions.create(model=OLD, file=FILE)

    assert made.usage is not None
    assert made.usage.type == "duration"
    assert made.usage.seconds == 3
    assert last_call(provider)["pieces"] == 0


def test_text_and_subtitles_are_no_json(client: openai.OpenAI) -> None:
    text = client.audio.transcriptions.create(model=OLD, file=FILE, response_format="text")
    srt = client.audio.transcriptions.create(model=OLD, file=FILE, response_format="srt")
    vtt = client.audio.transcriptions.create(model=OLD, file=FILE, response_format="vtt")

    assert text == f"{SENTENCE}\n"
    assert srt == f"1\n00:00:00,000 --> 00:00:02,500\n{SENTENCE}\n\n"
    assert vtt == f"WEBVTT\n\n00:00:00.000 --> 00:00:02.500\n{SENTENCE}\n\n"


def test_a_verbose_answer_has_words_and_segments(client: openai.OpenAI) -> None:
    made = client.audio.transcriptions.create(
        model=OLD, file=FILE, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )

    assert (made.duration, made.language, made.text) == (2.5, "english", SENTENCE)
    assert [word.word for word in made.words or ()] == SENTENCE.split()
    assert (made.segments or [])[0].end == 2.5
    assert made.usage is not None
    assert made.usage.seconds == 3


def test_a_stream_ends_with_the_text_and_its_usage(client: openai.OpenAI, provider: Served) -> None:
    seen: list[Any] = list(client.audio.transcriptions.create(model=NEW, file=FILE, stream=True))

    *deltas, done = seen
    assert "".join(event.delta for event in deltas) == done.text == SENTENCE
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert (done.type, done.usage.output_tokens, done.usage.total_tokens) == ("transcript.text.done", 13, 38)
    call = last_call(provider)
    assert (call["stream"], call["pieces"], call["completed"]) == (True, 13, True)


def test_a_translation_has_no_usage(client: openai.OpenAI, provider: Served) -> None:
    with pytest.deprecated_call():
        plain = client.audio.translations.create(model=OLD, file=FILE)
        verbose = client.audio.translations.create(model=OLD, file=FILE, response_format="verbose_json")

    assert plain.model_dump(exclude_none=True) == {"text": SENTENCE}
    assert (verbose.duration, verbose.language) == (2.5, "english")
    assert not (verbose.model_extra or {}).get("usage")


def test_a_standing_script_counts_for_forms_too(client: openai.OpenAI, provider: Served) -> None:
    provider.tell("/_control/script", {"audio_seconds": 60, "pieces": 3, "usage": "zero", "split": "bytes"})
    made = client.audio.transcriptions.create(model=NEW, file=FILE)
    call = last_call(provider)
    provider.tell("/_control/script", {"error_event_after": 2})
    with pytest.raises(openai.APIError):
        list(client.audio.transcriptions.create(model=NEW, file=FILE, stream=True))

    assert made.text == "The café by"
    assert made.usage is not None
    assert made.usage.type == "tokens"
    assert made.usage.total_tokens == 0
    assert (call["prompt_tokens"], call["pieces"]) == (600, 3)
    assert last_call(provider)["pieces"] == 2


def test_a_recording_does_not_come_as_json(provider: Served) -> None:
    assert ask(provider, {"model": NEW}, "/v1/audio/transcriptions").status_code == 400
