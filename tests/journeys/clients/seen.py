"""What the Python programs share: reading the journeys, and saying as JSON what the client saw.

Runs in the environment of the library under test: nothing here may need more than that.
"""

import hashlib
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Asked = dict[str, Any]
_ERROR = ("status_code", "code", "param", "type", "body")


def wanted() -> Asked:
    """What to do, from the file that the command line names: base URL, key, journeys."""
    plan: Asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return plan


def tell(document: dict[str, Any]) -> None:
    """Print the document, the one thing that the programs print."""
    json.dump(document, sys.stdout, ensure_ascii=True)


def value(thing: Any) -> Any:
    """Anything that the client gives, as JSON; only what came over the wire, nothing that the client filled in."""
    if isinstance(thing, bytes):
        return {"bytes": len(thing), "sha256": hashlib.sha256(thing).hexdigest()}
    if isinstance(thing, list | tuple):
        return [value(each) for each in thing]
    if isinstance(thing, dict):
        return {name: value(each) for name, each in thing.items()}
    if hasattr(thing, "model_dump"):
        return value(thing.model_dump(mode="json", exclude_unset=True, warnings=False))
    return error(thing) if isinstance(thing, Exception) else thing


def answer(thing: Any) -> dict[str, Any]:
    """An answer, and whether the client knows the provider's request id."""
    found = {"answer": value(thing), "has_request_id": bool(getattr(thing, "_request_id", None))}
    text = getattr(thing, "output_text", None)
    return {**found, "output_text": text} if text is not None else found


def error(raised: Exception) -> dict[str, Any]:
    """An exception: its class and what it carries. One that is not the client's own is a fault of the program."""
    if not type(raised).__module__.startswith(("openai", "langchain")):
        traceback.print_exception(raised)
    carried = {name: value(getattr(raised, name)) for name in _ERROR if hasattr(raised, name)}
    return {"raised": type(raised).__name__, "message": str(raised), **carried, "has_request_id": request_id(raised)}


def request_id(raised: Exception) -> bool:
    """Whether an exception names the request."""
    return bool(getattr(raised, "request_id", None))


def method(client: Any, name: str) -> Callable[..., Any]:
    """`chat.completions.create` of a client."""
    found = client
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]  # looked up by name


def beside(client: Any, name: str, other: str) -> Callable[..., Any]:
    """Another method of the resource that `name` is a method of."""
    return method(client, f"{name.rpartition('.')[0]}.{other}")


def arguments(journey: Asked) -> dict[str, Any]:
    """The body, with files in place of their paths."""
    return {name: _file(each) for name, each in journey["body"].items()}


def _file(thing: Any) -> Any:
    if isinstance(thing, list):
        return [_file(each) for each in thing]
    return Path(thing["$file"]) if isinstance(thing, dict) and "$file" in thing else thing


def tool_result(message: Any) -> list[dict[str, Any]]:
    """The messages that answer a message's tool calls."""
    return [
        {"role": "tool", "tool_call_id": call.id, "content": '{"weather":"mild"}'} for call in message.tool_calls or ()
    ]


def response_results(response: Any) -> list[dict[str, Any]]:
    """The items that answer a response's tool calls."""
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": '{"weather":"mild"}'} for call in calls]
