"""What a call of `/v1/responses` asks for: checked as OpenAI checks it, and counted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.sandbox.provider_checks import Refused, count, flag, missing, wrong_type
from sentinel.sandbox.provider_models import model_of
from sentinel.sandbox.provider_schema import example_text
from sentinel.sandbox.provider_tokens import PER_IMAGE, ascii_pieces, json_tokens, text_tokens

PER_ITEM = 3  # tokens around every item, and as many that prime the answer
LEAST_OUTPUT = 16
_ROLES = frozenset({"user", "assistant", "system", "developer"})
_TEXTS = frozenset({"input_text", "output_text", "refusal"})
_PARTS = _TEXTS | {"input_image", "input_file", "input_audio"}
_ITEMS = frozenset(
    {
        "function_call",
        "function_call_output",
        "reasoning",
        "item_reference",
        "custom_tool_call",
        "custom_tool_call_output",
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "computer_call",
        "computer_call_output",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "local_shell_call",
        "local_shell_call_output",
        "compaction",
    }
)
_FORMATS = frozenset({"text", "json_object", "json_schema"})


@dataclass(frozen=True, slots=True)
class ResponseAsk:
    """A call that is fine. text: the pieces of the answer where a schema fixes it. tool: the function to be called."""

    model: str
    input_tokens: int
    cap: int
    is_stream: bool
    is_stored: bool
    tool: str
    text: tuple[str, ...] | None


def parse_response(body: Mapping[str, Any], context_tokens: int) -> ResponseAsk:
    """A call that goes on from so many tokens. Raises Refused."""
    name, model = model_of(body)
    given = body.get("input")
    if given is None and not context_tokens and body.get("prompt") is None:
        raise missing("input")
    encoding = model.encoding
    tokens = context_tokens + PER_ITEM + _input(given, encoding) + _instructions(body, encoding)
    tokens += json_tokens(body.get("tools"), encoding)
    if tokens >= model.context:
        long = "Your input exceeds the context window of this model. Please adjust your input and try again."
        raise Refused(400, long, "input", "context_length_exceeded")
    is_stream = flag(body, "stream")
    if body.get("stream_options") is not None and not is_stream:
        raise Refused(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    return ResponseAsk(
        model=name,
        input_tokens=tokens,
        cap=count(body, "max_output_tokens", model.longest, LEAST_OUTPUT) or min(model.longest, model.context - tokens),
        is_stream=is_stream,
        is_stored=body.get("store") is None or flag(body, "store"),
        tool=_function(body.get("tools")),
        text=_format(body.get("text"), encoding),
    )


def _instructions(body: Mapping[str, Any], encoding: str) -> int:
    given = body.get("instructions")
    if given is not None and not isinstance(given, str):
        raise wrong_type("instructions", "a string")
    return PER_ITEM + text_tokens(given, encoding) if given else 0


def _input(given: object, encoding: str) -> int:
    if given is None:
        return 0
    if isinstance(given, str):
        return PER_ITEM + text_tokens(given, encoding)
    if not isinstance(given, list):
        raise wrong_type("input", "a string or a list of items")
    return sum(PER_ITEM + _item(item, encoding) for item in given)


def _item(item: object, encoding: str) -> int:
    if not isinstance(item, Mapping):
        raise wrong_type("input[]", "an object")
    kind = str(item.get("type", "message"))
    if kind == "message":
        if str(item.get("role")) not in _ROLES:
            raise Refused(400, "Invalid value for 'input[].role'.", "input", "invalid_value")
        return _content(item.get("content"), encoding)
    if kind not in _ITEMS:
        raise Refused(400, f"Invalid value: '{kind}'.", "input", "invalid_value")
    output = item.get("output")
    if kind == "function_call_output" and isinstance(output, str | list):
        return _content(output, encoding)
    return json_tokens(dict(item), encoding)


def _content(content: object, encoding: str) -> int:
    if isinstance(content, str):
        return text_tokens(content, encoding)
    if not isinstance(content, list):
        raise wrong_type("input[].content", "a string or a list of parts")
    return sum(_part(part, encoding) for part in content)


def _part(part: object, encoding: str) -> int:
    """A text counts as it is, whatever else as an image at low detail."""
    kind = str(part.get("type")) if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in _PARTS:
        raise Refused(400, f"Invalid value: '{kind}'.", "input", "invalid_value")
    text = part.get("refusal" if kind == "refusal" else "text")
    if kind not in _TEXTS:
        return PER_IMAGE
    if not isinstance(text, str):
        raise missing("input[].content[].text")
    return text_tokens(text, encoding)


def _function(tools: object) -> str:
    """The first function among the tools."""
    if tools is None:
        return "get_weather"
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise wrong_type("tools", "a list of objects")
    functions = [tool for tool in tools if tool.get("type") == "function"]
    if not all(isinstance(tool.get("name"), str) for tool in functions):
        raise missing("tools[].name")
    return str(functions[0]["name"]) if functions else "get_weather"


def _format(text: object, encoding: str) -> tuple[str, ...] | None:
    """The pieces of an answer that a format fixes."""
    given = text.get("format") if isinstance(text, Mapping) else None
    if given is None:
        return None
    if not isinstance(given, Mapping) or str(given.get("type")) not in _FORMATS:
        raise Refused(400, "Invalid value for 'text.format.type'.", "text.format.type", "invalid_value")
    if given["type"] == "text":
        return None
    if given["type"] == "json_object":
        return tuple(ascii_pieces('{"city":"Paris"}', encoding))
    if not isinstance(given.get("name"), str) or not isinstance(given.get("schema"), Mapping):
        raise missing("text.format.schema" if given.get("name") else "text.format.name")
    return tuple(ascii_pieces(example_text(given["schema"]), encoding))
