"""Pure: how many input tokens a prompt may cost. Text is counted; what is not text is bounded by published tables.

The figure is held, never charged when the provider reports its own.
"""

import math
from collections.abc import Callable

from gateway.bodies import Body, encode_plainly
from sentinel.exceptions import BadRequest

Count = Callable[[str], int]

# OpenAI cookbook, "How to count tokens with tiktoken": 3 per message, 1 per name, 3 that open the answer.
PER_MESSAGE = 3
PER_NAME = 1
PER_REPLY = 3
# Tool definitions are rewritten before the model sees them; the rewritten form was never seen to be longer than this.
PER_DEFINITION = 16
ONE_TOKEN_ROLES = frozenset({"system", "user", "assistant", "developer", "tool", "function"})
DEFINITIONS = ("tools", "functions", "response_format", "prediction", "tool_choice", "function_call")

# OpenAI, "Images and vision": base + tokens per 512-pixel tile, at most 8 tiles (2048 x 768); or patches, at most
# 1536, times a factor of the model. Longest prefix first.
IMAGE_TOKENS = (
    ("gpt-4o-mini", 2833 + 8 * 5667),
    ("gpt-4.1-mini", math.ceil(1536 * 1.62)),
    ("gpt-4.1-nano", math.ceil(1536 * 2.46)),
    ("gpt-5-mini", math.ceil(1536 * 1.62)),
    ("gpt-5-nano", math.ceil(1536 * 2.46)),
    ("o4-mini", math.ceil(1536 * 1.72)),
    ("gpt-4", 85 + 8 * 170),
    ("o1", 75 + 8 * 150),
    ("o3", 75 + 8 * 150),
)
IMAGE_TOKENS_ELSEWHERE = math.ceil(1536 * 2.46)
AUDIO_BYTES_PER_TOKEN = 100  # a token lasts 0.1 s; speech is not coded below 8 kbit/s
FILE_BYTES_PER_TOKEN = 4  # text of a document; its pages as images are left to the provider's report
STORED_FILE_TOKENS = 4096  # a file that is named by its id: its size is not known here

_KINDS = frozenset({"text", "refusal", "image_url", "input_audio", "file"})
_ITEM_TEXTS = frozenset({"input_text", "output_text", "summary_text", "reasoning_text"})
_ITEM_KINDS = {"input_image": "image_url", "input_file": "file"}
_LABELS = frozenset({"type", "id", "status"})  # of an item: they do not reach the model


def chat(body: Body, model: str, count: Count) -> int:
    """Input tokens of a chat completion. Raises BadRequest if there is no list of messages."""
    messages = body.value("messages")
    if not isinstance(messages, list):
        raise BadRequest("messages must be a list.", param="messages")
    total = PER_REPLY
    for message in messages:
        total += _message(message, model, count)
    for name in DEFINITIONS:
        if name in body.spans:
            total += _definition(body.value(name), count)
    return total


def completion(body: Body, count: Count) -> tuple[int, int]:
    """Input tokens and number of prompts of a legacy completion."""
    suffix = body.value("suffix")
    tokens, prompts = texts(body, "prompt", count)
    return tokens + prompts * (count(suffix) if isinstance(suffix, str) else 0), prompts


def texts(body: Body, name: str, count: Count) -> tuple[int, int]:
    """Input tokens and number of what a member holds: a text, texts, tokens, or lists of tokens. Raises BadRequest."""
    value = body.value(name)
    if value is None:
        raise BadRequest(f"{name} is missing.", param=name)
    if isinstance(value, str):
        return count(value), 1
    if isinstance(value, list) and value:
        if all(type(item) is int for item in value):
            return len(value), 1
        if all(isinstance(item, str) for item in value):
            return sum(map(count, value)), len(value)
        if all(isinstance(item, list) and all(type(token) is int for token in item) for item in value):
            return sum(map(len, value)), len(value)
    raise BadRequest(f"{name} must be a text, tokens, or a list of these.", param=name)


def responses(body: Body, model: str, count: Count) -> int:
    """Input tokens of a response: instructions, a text or a list of items, tools, the format. Raises BadRequest."""
    given = body.value("input")
    total = PER_REPLY
    if isinstance(given, str):
        total += PER_MESSAGE + 1 + count(given)
    elif isinstance(given, list):
        total += sum(_item(item, model, count) for item in given)
    elif given is not None:  # a stored prompt or an earlier response may stand in its place
        raise BadRequest("input must be a text or a list of items.", param="input")
    instructions = body.value("instructions")
    if isinstance(instructions, str):
        total += PER_MESSAGE + 1 + count(instructions)
    for name in ("tools", "tool_choice", "text", "prompt"):
        if name in body.spans:
            total += _definition(body.value(name), count)
    return total


def _item(item: object, model: str, count: Count) -> int:
    """An item of a response's input: a message, or a call and its output with all that stands in them."""
    if not isinstance(item, dict):
        raise BadRequest("Each item of input must be an object.", param="input")
    if item.get("type", "message") == "message":
        return _message({name: value for name, value in item.items() if name not in _LABELS}, model, count)
    return PER_MESSAGE + sum(
        _json(value, count) if not isinstance(value, list) else sum(_part(part, model, count) for part in value)
        for name, value in item.items()
        if name not in _LABELS and value is not None
    )


def _message(message: object, model: str, count: Count) -> int:
    if not isinstance(message, dict):
        raise BadRequest("Each message must be an object.", param="messages")
    total = PER_MESSAGE
    for name, value in message.items():
        if name == "role":
            total += 1 if isinstance(value, str) and value in ONE_TOKEN_ROLES else _json(value, count)
        elif isinstance(value, str):
            total += count(value) + (PER_NAME if name == "name" else 0)
        elif name == "content" and isinstance(value, list):
            total += sum(_part(part, model, count) for part in value)
        elif value is not None:
            total += _json(value, count)
    return total


def _part(part: object, model: str, count: Count) -> int:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        return _json(part, count)
    # The parts of a response's input carry inside what those of a chat carry below their kind's name.
    inner = part.get("text") if kind in _ITEM_TEXTS else part if kind in _ITEM_KINDS else part.get(kind)
    kind = "text" if kind in _ITEM_TEXTS else _ITEM_KINDS.get(kind, kind)
    if kind not in _KINDS:
        return _json(part, count)
    if kind in {"text", "refusal"}:
        return count(inner) if isinstance(inner, str) else _json(inner, count)
    if kind == "image_url":
        return _image(inner, model)
    if kind == "input_audio":
        return _size(inner, "data") // AUDIO_BYTES_PER_TOKEN + 1
    size = _size(inner, "file_data")
    return size // FILE_BYTES_PER_TOKEN + 1 if size else STORED_FILE_TOKENS


def _image(image: object, model: str) -> int:
    bound = next((tokens for prefix, tokens in IMAGE_TOKENS if model.startswith(prefix)), IMAGE_TOKENS_ELSEWHERE)
    if isinstance(image, dict) and image.get("detail") == "low":
        return min(bound, 2833)  # the largest base of any model
    return bound


def _size(inner: object, name: str) -> int:
    text = inner.get(name) if isinstance(inner, dict) else None
    return len(text) * 3 // 4 if isinstance(text, str) else 0


def _definition(value: object, count: Count) -> int:
    if value is None:
        return 0
    text = encode_plainly(value)  # not as sent: spaces and escapes do not reach the model
    return count(text) + PER_DEFINITION * max(text.count('"name"'), 1)


def _json(value: object, count: Count) -> int:
    return count(encode_plainly(value))
