"""Pure: what calls about images and sound may use at most, by published bounds. Their answers are not text: where the
provider reports no tokens, none are counted.
"""

from collections.abc import Callable

from gateway.bodies import Body
from gateway.estimate import Estimate, is_stream, model_of, positive
from sentinel.exceptions import BadRequest

Count = Callable[[str, str], int]

DEFAULT_IMAGES = "dall-e-2"  # API reference, "Create image"
UNTOLD = "dall-e"  # images of these models are not paid in tokens, and none are reported
# OpenAI, "Image generation", cost and latency: the dearest size and quality, and each partial image of a stream.
IMAGE_OUTPUT_TOKENS = 6240
PARTIAL_IMAGE_TOKENS = 100
MOST_PARTIAL_IMAGES = 3
EDIT_INPUT_TOKENS = 12_000  # a long prompt, and one image at high fidelity with its mask
# A token of speech lasts about 1/20 s; people speak some 15 characters a second, and can be asked to speak slowly.
SPEECH_TOKENS_PER_CHARACTER = 4
# gpt-4o-transcribe's model page: context and longest answer; a token of sound lasts 0.1 s, at 8 kbit/s 100 bytes.
TRANSCRIPT_INPUT_TOKENS = 16_000
TRANSCRIPT_OUTPUT_TOKENS = 2_000
SOUND_BYTES_PER_TOKEN = 100


def read_images(body: Body, count: Count) -> Estimate:
    """The ask of images made from a prompt. Raises BadRequest."""
    model, stream, images = model_of(body, DEFAULT_IMAGES), is_stream(body), positive(body, "n") or 1
    if model.startswith(UNTOLD):
        return untold(model, stream=stream)
    each = IMAGE_OUTPUT_TOKENS + (MOST_PARTIAL_IMAGES * PARTIAL_IMAGE_TOKENS if stream else 0)
    return _bounded(model, _tokens(body, ("prompt",), model, count), images * each, stream=stream)


def read_speech(body: Body, count: Count) -> Estimate:
    """The ask of speech: tokens are reported only where it comes as events. Raises BadRequest."""
    model, text = model_of(body), body.value("input")
    if not isinstance(text, str):
        raise BadRequest("input must be a text.", param="input")
    if body.value("stream_format") != "sse":
        return untold(model)
    most = SPEECH_TOKENS_PER_CHARACTER * max(len(text), 1)
    return _bounded(model, _tokens(body, ("input", "instructions"), model, count), most, stream=True)


def bound_of_edit(_length: int | None) -> Estimate:
    """The ask of a changed image, which comes in a form; until it names a model it is for the provider's own choice."""
    output = IMAGE_OUTPUT_TOKENS + MOST_PARTIAL_IMAGES * PARTIAL_IMAGE_TOKENS
    return _bounded(DEFAULT_IMAGES, EDIT_INPUT_TOKENS, output)


def bound_of_variation(_length: int | None) -> Estimate:
    """The ask of a variation of an image: only models that are not paid in tokens make them."""
    return untold(DEFAULT_IMAGES)


def bound_of_transcript(length: int | None) -> Estimate:
    """The ask of a transcript or translation of so many bytes of sound, None if their number is not known."""
    most = TRANSCRIPT_INPUT_TOKENS
    heard = most if length is None else min(length // SOUND_BYTES_PER_TOKEN + 1, most)
    return _bounded("", heard, TRANSCRIPT_OUTPUT_TOKENS)


def untold(model: str, *, stream: bool = False) -> Estimate:
    """An ask of requests alone."""
    return Estimate(model, stream, None, input_tokens=0, choices=0, cap=None, is_counted=False)


def _bounded(model: str, tokens: int, output: int, *, stream: bool = False) -> Estimate:
    return Estimate(model, stream, None, tokens, choices=1, cap=output, is_firm=True, is_counted=False)


def _tokens(body: Body, names: tuple[str, ...], model: str, count: Count) -> int:
    texts = [body.value(name) for name in names]
    return sum(count(text, model) for text in texts if isinstance(text, str))
