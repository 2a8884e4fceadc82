"""What calls about images and sound ask for."""

import json

import pytest

from gateway import media
from gateway.bodies import Body
from gateway.estimate import Estimate
from sentinel.exceptions import BadRequest


def words(text: str, _model: str) -> int:
    return len(text.split())


def images(**members: object) -> Estimate:
    return media.read_images(body_of(**{"model": "gpt-image-1", "prompt": "a red fox", **members}), words)


def speech(**members: object) -> Estimate:
    return media.read_speech(body_of(**{"model": "gpt-4o-mini-tts", "input": "Hello you", **members}), words)


def body_of(**members: object) -> Body:
    return Body.parse(json.dumps(members).encode())


def test_images_ask_for_their_prompt_and_the_dearest_image_each() -> None:
    assert images() == Estimate(
        "gpt-image-1", False, None, 3, choices=1, cap=media.IMAGE_OUTPUT_TOKENS, is_firm=True, is_counted=False
    )
    assert images(n=4).cap == 4 * media.IMAGE_OUTPUT_TOKENS
    assert images(n=None, prompt=None).input_tokens == 0


def test_a_stream_of_images_asks_for_its_partial_ones_too() -> None:
    streamed = images(n=2, stream=True)

    assert streamed.stream
    assert streamed.cap == 2 * (media.IMAGE_OUTPUT_TOKENS + 3 * media.PARTIAL_IMAGE_TOKENS)


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", None])
def test_images_that_are_not_paid_in_tokens_ask_for_requests_alone(model: str | None) -> None:
    asked = images(model=model, n=10)

    assert (asked.model, asked.input_tokens, asked.choices, asked.cap) == (model or "dall-e-2", 0, 0, None)
    assert not asked.is_counted


@pytest.mark.parametrize("members", [{"n": 0}, {"n": "2"}, {"n": 1.5}, {"stream": "true"}, {"model": 5}])
def test_images_whose_number_or_form_nobody_can_tell_are_refused(members: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as refused:
        images(**members)

    assert refused.value.param in members


def test_speech_asks_for_requests_alone_unless_it_reports_tokens() -> None:
    plain, audio = speech(), speech(stream_format="audio")
    events = speech(stream_format="sse", instructions="slowly please now")

    assert (plain.choices, plain.cap, plain.stream) == (audio.choices, audio.cap, audio.stream) == (0, None, False)
    assert (events.stream, events.is_firm, events.choices) == (True, True, 1)
    assert events.input_tokens == 2 + 3
    assert events.cap == len("Hello you") * media.SPEECH_TOKENS_PER_CHARACTER
    assert speech(stream_format="sse", input="").cap == media.SPEECH_TOKENS_PER_CHARACTER


@pytest.mark.parametrize("text", [None, 5, ["a"], {}])
def test_speech_needs_a_text(text: object) -> None:
    with pytest.raises(BadRequest) as refused:
        speech(input=text)

    assert refused.value.param == "input"


def test_speech_needs_a_model() -> None:
    with pytest.raises(BadRequest):
        speech(model=None)


@pytest.mark.parametrize(
    ("length", "tokens"),
    [(0, 1), (99, 1), (100, 2), (100_000, 1001), (25 * 2**20, media.TRANSCRIPT_INPUT_TOKENS)],
)
def test_a_transcript_is_bounded_by_the_bytes_of_its_sound(length: int, tokens: int) -> None:
    asked = media.bound_of_transcript(length)

    assert (asked.model, asked.input_tokens, asked.cap) == ("", tokens, media.TRANSCRIPT_OUTPUT_TOKENS)
    assert asked.is_firm
    assert media.bound_of_transcript(None).input_tokens == media.TRANSCRIPT_INPUT_TOKENS >= tokens


def test_an_edit_is_bounded_whatever_its_size_and_a_variation_asks_for_requests_alone() -> None:
    assert media.bound_of_edit(5) == media.bound_of_edit(None)
    assert media.bound_of_edit(None).input_tokens == media.EDIT_INPUT_TOKENS
    assert (media.bound_of_edit(None).cap or 0) > media.IMAGE_OUTPUT_TOKENS
    assert media.bound_of_variation(5) == media.untold("dall-e-2")
    assert (media.untold("m").input_tokens, media.untold("m").choices) == (0, 0)
