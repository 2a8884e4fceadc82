"""What the foreign clients are asked to do, as plain values: the programs read them as JSON and play them.

A journey names a method of the client, the arguments, and the manner in which the program uses it. Two servers know
different models, so the journeys of a server come from its `Server`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHAT, COMPLETIONS, MODELS = "chat.completions.create", "completions.create", "models.list"
ANSWER = "answer"
QUESTION = [{"role": "user", "content": "Is the café open?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """One thing to do. `path` is the endpoint that it needs.

    sees: what the client must see, an answer, or an error by the name that the Python client has for it. ours: the
    error and its code where Sentinel answers in its own words. options: the client's own (`timeout`, `max_retries`,
    `api_key`).
    """

    name: str
    path: str
    call: str
    how: str = "plain"
    body: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    sees: str = ANSWER
    ours: tuple[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """For the programs."""
        return {"name": self.name, "call": self.call, "how": self.how, "body": self.body, "options": self.options}


def model(name: str, model_id: str, *, sees: str = ANSWER) -> Journey:
    """A journey that asks for one model."""
    return Journey(name=name, path="/v1/models/{id}", call="models.retrieve", body={"model": model_id}, sees=sees)


def scripted(**script: Any) -> dict[str, Any]:
    """Members that tell our simulator how to behave."""
    return {"metadata": {"sandbox": json.dumps(script)}}


def chat(name: str, how: str = "plain", **given: Any) -> Journey:
    """A chat journey; whatever is given and is not the journey's own goes into the body."""
    own = {field: given.pop(field) for field in ("sees", "ours", "options") if field in given}
    body = {"model": "gpt-4o-mini", "messages": QUESTION, **given}
    return Journey(name=name, path="/v1/chat/completions", call=CHAT, how=how, body=body, **own)


def completion(name: str, how: str = "plain", **body: Any) -> Journey:
    """A journey of the older endpoint."""
    body = {"model": "gpt-3.5-turbo", "prompt": "Once upon a time", "max_tokens": 7, **body}
    return Journey(name=name, path="/v1/completions", call=COMPLETIONS, how=how, body=body)


def refused(status: int, sees: str, **own: Any) -> Journey:
    """A chat journey that our simulator answers with this status."""
    error = {"message": f"Refused with {status}.", "type": "requests", "param": "model", "code": f"code_{status}"}
    return chat(f"error {status}", sees=sees, **own, **scripted(status=status, error=error))


def of_simulator() -> list[Journey]:
    """What the clients of the provider's own libraries do with our simulator."""
    return [*_chats(), *_completions(), *_models(), *_errors()]


def _chats() -> list[Journey]:
    usage: dict[str, Any] = {"stream_options": {"include_usage": True}}
    return [
        chat("chat"),
        chat(
            "chat with everything", n=3, max_completion_tokens=5, temperature=0.25, seed=1, user="somebody", stop=["!"]
        ),
        chat("chat headers", "raw"),
        chat("chat stream", "stream"),
        chat("chat stream of several", "stream", n=2),
        chat("chat stream without usage", "stream", stream_options={"include_usage": False}),
        chat("chat stream with usage", "stream", **usage),
        chat("chat stream cut up oddly", "stream", **scripted(split="odd", crlf=True, comments=True)),
        chat("chat stream of tools", "stream", tools=[WEATHER], **scripted(tool_calls=True)),
        chat("chat helper", "helper"),
        chat("chat helper with usage", "helper", **usage),
        chat("chat tools", "tools", tools=[WEATHER], **scripted(tool_calls=True)),
        chat("chat left early", "leave", **scripted(interval_ms=20, pieces=500)),
        chat("chat many at once", "many", **scripted(first_byte_ms=50)),
    ]


def _completions() -> list[Journey]:
    return [
        completion("completion"),
        completion("completion of several", prompt=["one", "two"], n=2, best_of=3),
        completion("completion stream", "stream"),
        completion("completion stream with usage", "stream", stream_options={"include_usage": True}),
    ]


def _models() -> list[Journey]:
    return [
        Journey(name="models", path="/v1/models", call=MODELS, how="pages"),
        model("model", "gpt-4o"),
        model("model unknown", "gpt-9", sees="NotFoundError"),
    ]


def _errors() -> list[Journey]:
    wrong_key: dict[str, Any] = {"sees": "AuthenticationError", "ours": ("AuthenticationError", "invalid_token")}
    wrong_member: dict[str, Any] = {"sees": "BadRequestError", "ours": ("BadRequestError", "invalid_request")}
    forbidden = ("PermissionDeniedError", "upstream_forbidden")
    broken: dict[str, Any] = {"sees": "APIConnectionError", "ours": ("InternalServerError", "upstream_error")}
    return [
        chat("error of a wrong key", options={"api_key": "sk-wrong"}, **wrong_key),
        chat("error of an unknown model", model="gpt-9", sees="NotFoundError"),
        chat("error of a wrong member", max_tokens=-1, **wrong_member),
        chat("error of a wrong role", messages=[{"role": "nobody", "content": "?"}], sees="BadRequestError"),
        refused(400, "BadRequestError"),
        refused(403, "PermissionDeniedError", ours=forbidden),
        refused(409, "ConflictError"),
        refused(422, "UnprocessableEntityError"),
        refused(429, "RateLimitError"),
        refused(500, "InternalServerError"),
        refused(503, "InternalServerError"),
        chat(
            "error of a slow answer", sees="APITimeoutError", options={"timeout": 0.5}, **scripted(first_byte_ms=2500)
        ),
        chat("error of a broken answer", **broken, **scripted(break_before_headers=True)),
    ]


def of_server() -> list[Journey]:
    """What they do with the server of others."""
    return [
        chat("chat"),
        chat("chat stream", "stream"),
        chat("chat stream with usage", "stream", stream_options={"include_usage": True}),
        chat("chat helper", "helper"),
        chat("chat tools", "tools", model="gpt-4.1:mock-tool-call", tools=[WEATHER]),
        chat("chat stream of tools", "stream", model="gpt-4.1:mock-tool-stream", tools=[WEATHER]),
        chat("chat slow stream", "stream", model="gpt-4.1:mock-delay"),
        chat("chat many at once", "many"),
        completion("completion", model="gpt-3.5-turbo-instruct"),
        completion("completion stream", "stream", model="gpt-3.5-turbo-instruct"),
        Journey(name="models", path="/v1/models", call=MODELS, how="pages"),
        model("model", "gpt-4.1"),
        model("model unknown", "gpt-9", sees="NotFoundError"),
        chat("error 400", model="gpt-4.1:mock-400", sees="BadRequestError"),
        chat("error 429", model="gpt-4.1:mock-429", sees="RateLimitError"),
        chat("error 500", model="gpt-4.1:mock-500", sees="InternalServerError"),
        chat("error 503", model="gpt-4.1:mock-503", sees="InternalServerError"),
    ]


def link(name: str, how: str, *, sees: str = ANSWER, **body: Any) -> Journey:
    """A journey of LangChain's chat model."""
    settings = {"model": "gpt-4o-mini", "asked": "Is the café open?", **body}
    return Journey(name=name, path="/v1/chat/completions", call="ChatOpenAI", how=how, body=settings, sees=sees)


def of_chain_with_simulator() -> list[Journey]:
    """What LangChain does with our simulator."""
    calls = scripted(tool_calls=True)
    return [
        link("invoke", "invoke"),
        link("stream", "stream"),
        link("stream with usage", "stream", stream_usage=True),
        link("asynchronous", "asynchronous"),
        link("batch", "batch"),
        link("bind tools", "bind_tools", extra_body=calls),
        link("structured by tool", "structured_by_tool", extra_body=calls),
        link("error of an unknown model", "invoke", model="gpt-9", sees="OpenAIModelNotFoundError"),
    ]


def of_chain_with_server() -> list[Journey]:
    """What LangChain does with the server of others."""
    return [
        link("invoke", "invoke"),
        link("stream", "stream"),
        link("asynchronous", "asynchronous"),
        link("batch", "batch"),
        link("error 429", "invoke", model="gpt-4.1:mock-429", sees="OpenAIRateLimitError"),
    ]
