"""What a call asks of the provider's simulator: checked as OpenAI checks it, and counted exactly. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.sandbox.provider_checks import Refused, count
from sentinel.sandbox.provider_models import MODELS, model_of
from sentinel.sandbox.provider_tokens import PER_IMAGE, input_tokens, json_tokens, text_tokens

PER_MESSAGE = 3  # tokens around every message, and as many that prime the answer
PER_NAME = 1
COMPLETIONS_CAP = 16  # what the older endpoint generates when no cap is given
MAX_CHOICES = 128
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


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
    name, model = model_of(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not all(isinstance(message, dict) and str(message.get("role")) in _ROLES for message in messages):
        raise Refused(400, "Invalid value for 'messages[].role'.", "messages", "invalid_value")
    if body.get("max_tokens") is not None and not model.takes_max_tokens:
        hint = f"Unsupported parameter: 'max_tokens' is not supported with {name}. Use 'max_completion_tokens' instead."
        raise Refused(400, hint, "max_tokens", "unsupported_parameter")
    caps = [count(body, cap, model.longest) for cap in ("max_completion_tokens", "max_tokens")]
    if None not in caps:
        both = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Refused(400, both, "max_tokens", "invalid_parameter_combination")
    prompt = chat_tokens(body, model.encoding)
    cap = caps[0] or caps[1] or min(model.longest, max(model.context - prompt, 1))
    n = count(body, "n", MAX_CHOICES) or 1
    return _ask(body, name, is_chat=True, prompt=prompt, choices=n, generated=n, cap=cap)


def parse_completion(body: Mapping[str, Any]) -> Ask:
    """A call of the older endpoint. Raises Refused."""
    name, model = model_of(body)
    counts = input_tokens(body.get("prompt", "<|endoftext|>"), "prompt", model.encoding)
    cap = count(body, "max_tokens", model.longest) or COMPLETIONS_CAP
    n = count(body, "n", MAX_CHOICES) or 1
    best_of = count(body, "best_of", MAX_CHOICES) or n
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


def chat_tokens(body: Mapping[str, Any], encoding: str) -> int:
    """Tokens of a chat prompt by the published formula; tools count as their JSON, an image as a constant."""
    total = PER_MESSAGE
    for message in body["messages"]:
        total += PER_MESSAGE + text_tokens(str(message["role"]), encoding)
        total += _content_tokens(message.get("content"), encoding)
        if isinstance(message.get("name"), str):
            total += PER_NAME + text_tokens(message["name"], encoding)
        total += json_tokens(message.get("tool_calls"), encoding)
    return total + json_tokens(body.get("tools"), encoding) + json_tokens(body.get("functions"), encoding)


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
