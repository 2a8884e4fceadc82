"""What a call asks of the provider's simulator: checked as OpenAI checks it, and counted exactly. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from splintr import AnyTokenizer, Tokenizer

PER_MESSAGE = 3  # tokens around every message, and as many that prime the answer
PER_NAME = 1
PER_IMAGE = 85  # an image at low detail
COMPLETIONS_CAP = 16  # what the older endpoint generates when no cap is given
MAX_CHOICES = 128
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its encoding, its context and the longest answer, in tokens."""

    encoding: str
    context: int
    longest: int
    takes_max_tokens: bool = True


MODELS: Mapping[str, Model] = {
    "gpt-4o": Model("o200k_base", 128_000, 16_384),
    "gpt-4o-mini": Model("o200k_base", 128_000, 16_384),
    "gpt-3.5-turbo": Model("cl100k_base", 16_385, 4_096),
    "o4-mini": Model("o200k_base", 200_000, 100_000, takes_max_tokens=False),
    "gpt-4.1": Model("o200k_base", 1_047_576, 32_768),
}


class Refused(Exception):
    """The call is answered with an OpenAI error."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that is fine. `choices` answers are shown, `generated` are made and billed (`best_of`)."""

    model: str
    is_chat: bool
    prompt_tokens: int
    choices: int
    generated: int
    cap: int
    is_stream: bool
    include_usage: bool


def parse_chat(body: Mapping[str, Any]) -> Ask:
    """A chat call. Raises Refused."""
    name, model = _model(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not all(isinstance(message, dict) and message.get("role") in _ROLES for message in messages):
        raise Refused(400, "Invalid value for 'messages[].role'.", "messages", "invalid_value")
    if body.get("max_tokens") is not None and not model.takes_max_tokens:
        hint = f"Unsupported parameter: 'max_tokens' is not supported with {name}. Use 'max_completion_tokens' instead."
        raise Refused(400, hint, "max_tokens", "unsupported_parameter")
    caps = [_count(body, cap, model.longest) for cap in ("max_completion_tokens", "max_tokens")]
    if None not in caps:
        both = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Refused(400, both, "max_tokens", "invalid_parameter_combination")
    prompt = chat_tokens(body, model.encoding)
    cap = caps[0] or caps[1] or min(model.longest, max(model.context - prompt, 1))
    n = _count(body, "n", MAX_CHOICES) or 1
    return _ask(body, name, is_chat=True, prompt=prompt, choices=n, generated=n, cap=cap)


def parse_completion(body: Mapping[str, Any]) -> Ask:
    """A call of the older endpoint. Raises Refused."""
    name, model = _model(body)
    counts = _prompts(body.get("prompt", "<|endoftext|>"), model.encoding)
    cap = _count(body, "max_tokens", model.longest) or COMPLETIONS_CAP
    n = _count(body, "n", MAX_CHOICES) or 1
    best_of = _count(body, "best_of", MAX_CHOICES) or n
    if best_of < n or (body.get("stream") and best_of > n):
        raise Refused(400, "Invalid value for 'best_of'.", "best_of", "invalid_value")
    choices, generated = n * len(counts), best_of * len(counts)
    return _ask(body, name, is_chat=False, prompt=sum(counts), choices=choices, generated=generated, cap=cap)


def _ask(
    body: Mapping[str, Any], name: str, *, is_chat: bool, prompt: int, choices: int, generated: int, cap: int
) -> Ask:
    stream, options, context = body.get("stream"), body.get("stream_options"), MODELS[name].context
    if stream not in (None, True, False):
        raise Refused(400, "Invalid type for 'stream': expected a boolean.", "stream", "invalid_type")
    if options is not None and not stream:
        only = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refused(400, only, "stream_options")
    if prompt >= context:
        long = f"This model's maximum context length is {context} tokens. However, your input resulted in {prompt}."
        raise Refused(400, long, "messages" if is_chat else "prompt", "context_length_exceeded")
    include = isinstance(options, Mapping) and options.get("include_usage") is True
    return Ask(name, is_chat, prompt, choices, generated, cap, bool(stream), include)


def _model(body: Mapping[str, Any]) -> tuple[str, Model]:
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise Refused(400, "you must provide a model parameter")
    if name not in MODELS:
        raise unknown_model(name)
    return name, MODELS[name]


def unknown_model(name: str) -> Refused:
    """OpenAI's answer to a model that it does not have."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Refused(404, message, None, "model_not_found")


def _count(body: Mapping[str, Any], name: str, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(400, f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
    if value < 1:
        low = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead."
        raise Refused(400, low, name, "integer_below_min_value")
    if value > most:
        raise Refused(400, f"{name} is too large: {value}. At most {most} is supported.", name, "invalid_value")
    return value


@lru_cache(maxsize=2)
def _tokenizer(encoding: str) -> AnyTokenizer:
    return Tokenizer.from_pretrained(encoding)


def text_tokens(text: str, encoding: str) -> int:
    """Tokens of a text in which no special token is recognised."""
    return len(_tokenizer(encoding).encode_ordinary(text))


def chat_tokens(body: Mapping[str, Any], encoding: str) -> int:
    """Tokens of a chat prompt by the published formula; tools count as their JSON, an image as a constant."""
    total = PER_MESSAGE
    for message in body["messages"]:
        total += PER_MESSAGE + text_tokens(str(message["role"]), encoding)
        total += _content_tokens(message.get("content"), encoding)
        if isinstance(message.get("name"), str):
            total += PER_NAME + text_tokens(message["name"], encoding)
        total += _json_tokens(message.get("tool_calls"), encoding)
    return total + _json_tokens(body.get("tools"), encoding) + _json_tokens(body.get("functions"), encoding)


def _content_tokens(content: object, encoding: str) -> int:
    if isinstance(content, str):
        return text_tokens(content, encoding)
    total = 0
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, Mapping):
            raise Refused(400, "Invalid type for 'messages[].content'.", "messages", "invalid_type")
        text = part.get("text")
        total += text_tokens(text, encoding) if isinstance(text, str) else PER_IMAGE
    return total


def _json_tokens(value: object, encoding: str) -> int:
    return text_tokens(orjson.dumps(value).decode(), encoding) if value else 0


def _prompts(prompt: object, encoding: str) -> Sequence[int]:
    """Tokens of each prompt: a text, a list of texts, token ids, or a list of lists of token ids."""
    if isinstance(prompt, str):
        return [text_tokens(prompt, encoding)]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(each, str) for each in prompt):
            return [text_tokens(each, encoding) for each in prompt]
        if _are_ids(prompt):
            return [len(prompt)]
        if all(isinstance(each, list) and each and _are_ids(each) for each in prompt):
            return [len(each) for each in prompt]
    raise Refused(400, "Invalid type for 'prompt'.", "prompt", "invalid_type")


def _are_ids(values: Sequence[object]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)
