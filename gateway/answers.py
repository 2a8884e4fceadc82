"""Pure: what a model wrote, read out of plain replies and of events, for counting when usage is missing."""

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from gateway import sse

T = TypeVar("T")


class Function(msgspec.Struct, gc=False):
    name: Any = None
    arguments: Any = None
    input: Any = None


class ToolCall(msgspec.Struct, gc=False):
    function: Function | None = None
    custom: Function | None = None


class Audio(msgspec.Struct, gc=False):
    transcript: Any = None


class Message(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    function_call: Function | None = None
    tool_calls: list[ToolCall] | None = None
    audio: Audio | None = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers to a prompt, or a piece of it."""

    index: int = 0
    text: Any = None
    delta: Message | None = None
    message: Message | None = None
    finish_reason: Any = None


class Answer(msgspec.Struct, gc=False):
    """The members of a reply, or of an event's payload, that hold what a model wrote."""

    choices: list[Choice] | None = None
    delta: Any = None  # of a responses event: the text itself
    output: Any = None  # of a plain responses reply


_answer = msgspec.json.Decoder(Answer)


def decode(payload: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Read JSON into the decoder's type. Raises ValueError (ValidationError for another shape) or RecursionError."""
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):  # legal JSON that msgspec refuses: lone surrogates
        return msgspec.convert(json.loads(payload), decoder.type)


def read_block(block: bytes) -> tuple[list[Answer], int]:
    """The answers in a block of whole events, and how many events could not be understood."""
    try:
        # A line of JSON holds no line break, so this cannot change a text.
        return _answer.decode_lines(block.removeprefix(b"data: ").replace(b"\n\ndata: ", b"\n")), 0
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _read_singly(block)


def _read_singly(block: bytes) -> tuple[list[Answer], int]:
    found, unparsable = [], 0
    for payload in filter(None, map(sse.data, sse.split(block))):
        try:
            found.append(decode(payload, _answer))
        except (ValueError, RecursionError):
            unparsable += 1
    return found, unparsable


def frame_of(block: bytes, events: int) -> int | None:
    """Bytes of an event around what the model wrote, the mean of a block's `events`; None where it wrote nothing.

    Texts are measured in their longest escaped form, so that the frame is not too long.
    """
    try:
        found, unparsable = read_block(block)
        texts = [text_of(choice) for answer in found for choice in answer.choices or ()]
    except RecursionError:
        return None
    texts += [answer.delta for answer in found if type(answer.delta) is str]
    if unparsable or not any(texts):
        return None
    return max(len(block) - sum(len(json.dumps(text)) - 2 for text in texts), 0) // events


def plain_output_texts(payload: bytes) -> list[str]:
    """All that a model wrote in a plain reply, each choice apart: no token reaches from one into the next.

    A reply that is not JSON is itself the text.
    """
    try:
        answer = decode(payload, _answer)
    except msgspec.ValidationError:
        return ["".join(strings(json.loads(payload)))]
    except (ValueError, RecursionError):
        return [payload.decode("utf-8", "replace")]
    return [*map(text_of, answer.choices or ()), "".join(strings(answer.output))]


def text_of(choice: Choice) -> str:
    """What one choice, or one piece of it, says: content, tool calls, refusal, reasoning, spoken words."""
    message = choice.delta or choice.message
    if message is None:
        return choice.text if isinstance(choice.text, str) else ""
    content = message.content if type(message.content) is str else "".join(strings(message.content))
    return content + "".join(_asides(message))


def strings(value: object) -> list[str]:
    """All strings inside a decoded value, names of members left out."""
    if isinstance(value, str):
        return [value]
    inner: Iterable[object] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in strings(item)]


def _asides(message: Message) -> list[str]:
    texts: list[str] = []
    if message.refusal is not None:
        texts += strings(message.refusal)
    if message.reasoning_content is not None or message.reasoning is not None:
        texts += strings(message.reasoning_content or message.reasoning)
    if message.audio is not None:
        texts += strings(message.audio.transcript)
    if message.function_call is not None:
        texts += _call_texts(message.function_call)
    for call in message.tool_calls or ():
        texts += _call_texts(call.function or call.custom)
    return texts


def _call_texts(call: Function | None) -> list[str]:
    return strings([call.name, call.arguments, call.input]) if call else []
