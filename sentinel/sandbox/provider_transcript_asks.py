"""What a call with a recording asks of the provider's simulator: checked as OpenAI checks it, and counted. Pure."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from sentinel.sandbox.provider_checks import Refused, flag, missing, one_of
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_models import model_of
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import text_tokens

TOKENS_PER_SECOND = 10
BYTES_PER_SECOND = 16_000  # 128 kbit/s
_MOST_BYTES = 25 * 1024 * 1024
_FORMATS = ("json", "text", "srt", "vtt", "verbose_json")


@dataclass(frozen=True, slots=True)
class TranscriptAsk:
    """A call that is fine. is_token_metered: whether its model reports tokens, not seconds."""

    model: str
    is_translation: bool
    text_tokens: int
    seconds: float
    response_format: str
    is_stream: bool
    has_words: bool
    has_segments: bool

    @property
    def is_token_metered(self) -> bool:
        """Only the older model counts seconds."""
        return self.model != "whisper-1"

    @property
    def audio_tokens(self) -> int:
        """Tokens of the recording."""
        return math.ceil(self.seconds * TOKENS_PER_SECOND)


def parse_recording(form: Form, script: Script, *, is_translation: bool) -> TranscriptAsk:
    """A recording to be written down. Raises Refused."""
    body = form.fields
    if not form.parts:
        raise Refused(400, "The body of your request is not a multipart form.")
    name, model = model_of(body, "transcription")
    is_old = name == "whisper-1"
    if is_translation and not is_old:
        raise Refused(400, f"Invalid value: '{name}'. It does not translate.", "model", "invalid_value")
    seconds = _seconds(form, script)
    response_format = one_of(body, "response_format", _FORMATS if is_old else ("json",), "json")
    granularities = form.all("timestamp_granularities[]")
    _check_granularities(granularities, response_format)
    return TranscriptAsk(
        model=name,
        is_translation=is_translation,
        text_tokens=text_tokens(str(body.get("prompt", "")), model.encoding),
        seconds=seconds,
        response_format=response_format,
        is_stream=flag(body, "stream") and not is_old,  # the older model ignores it
        has_words="word" in granularities,
        has_segments="segment" in granularities or not granularities,
    )


def _seconds(form: Form, script: Script) -> float:
    files = form.files("file")
    if len(files) != 1:
        raise missing("file")
    size = len(files[0].data)
    if size > _MOST_BYTES:
        raise Refused(413, f"Maximum content size limit ({_MOST_BYTES}) exceeded ({size} bytes read)")
    if not size:
        raise Refused(400, "Audio file is too short. Minimum audio length is 0.1 seconds.", "file", "audio_too_short")
    return size / BYTES_PER_SECOND if script.audio_seconds is None else float(script.audio_seconds)


def _check_granularities(granularities: Collection[str], response_format: str) -> None:
    is_known = set(granularities) <= {"word", "segment"}
    if not is_known or (granularities and response_format != "verbose_json"):
        hint = "Timestamp granularities are 'word' and 'segment', with response_format 'verbose_json'."
        raise Refused(400, hint, "timestamp_granularities", "invalid_value")
