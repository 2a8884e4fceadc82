from typing import Any

import pytest

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_form import Form, Part
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_transcript_asks import BYTES_PER_SECOND, TranscriptAsk, parse_recording

FILE = Part("file", "a.mp3", "audio/mpeg", b"x" * BYTES_PER_SECOND * 2)
NEW = "gpt-4o-transcribe"


def ask(
    model: str = NEW, file: Part | None = FILE, granularity: str = "", translates: bool = False, **fields: Any
) -> TranscriptAsk:
    other = Part("timestamp_granularities[]" if granularity else "other", None, None, granularity.encode())
    form = Form({"model": model, **fields}, [other] if file is None else [file, other])
    return parse_recording(form, Script(), is_translation=translates)


def test_a_recording_lasts_as_long_as_its_bytes_or_as_the_script_says() -> None:
    told = parse_recording(Form({"model": NEW}, [FILE]), Script(audio_seconds=1.23), is_translation=False)

    assert (ask().seconds, ask().audio_tokens, ask(prompt="hello world").text_tokens) == (2, 20, 2)
    assert (told.seconds, told.audio_tokens) == (1.23, 13)


def test_the_older_model_counts_seconds_and_is_not_streamed() -> None:
    old = ask("whisper-1", stream=True)

    assert (old.is_stream, old.is_token_metered) == (False, False)
    assert (ask(stream=True).is_stream, ask().is_token_metered) == (True, True)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "gpt-4o"}, 403),
        ({"model": "nobody"}, 404),
        ({"file": None}, 400),
        ({"file": Part("file", "a.mp3", None, b"")}, 400),
        ({"file": Part("file", "a.mp3", None, b"x" * (25 * 1024 * 1024 + 1))}, 413),
        ({"response_format": "text"}, 400),
        ({"model": "whisper-1", "response_format": "pdf"}, 400),
        ({"model": "whisper-1", "granularity": "word"}, 400),
        ({"model": "whisper-1", "granularity": "letter", "response_format": "verbose_json"}, 400),
        ({"translates": True}, 400),
        ({"stream": "yes"}, 400),
    ],
)
def test_a_bad_call_is_refused(fields: dict[str, Any], status: int) -> None:
    with pytest.raises(Refused) as refused:
        ask(**fields)

    assert refused.value.status == status
