from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.sandbox.calls import ask, events, last_call, scripted
from tests.servers import Served

MODEL = "gpt-4.1"
PATH = "/v1/responses"
SENTENCE = "The café by the harbour is open today — and very quiet."
TOOL: Any = {"type": "function", "name": "get_time", "parameters": {}, "strict": False}


def body(script: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"model": MODEL, "input": "hello world", **fields}
    return given if script is None else {**given, "metadata": scripted(**script)}


def test_a_response_has_its_text_usage_and_what_was_asked(client: openai.OpenAI, provider: Served) -> None:
    made = client.responses.create(
        model=MODEL, input="hello world", instructions="hello", metadata={"who": "ada"}, temperature=0.5
    )

    assert (made.output_text, made.status, made.model, made.object) == (SENTENCE, "completed", MODEL, "response")
    assert (made.instructions, made.temperature, made.metadata) == ("hello", 0.5, {"who": "ada"})
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (12, 13, 25)
    call = last_call(provider)
    assert (call["who"], call["prompt_tokens"], call["pieces"], call["stream"]) == ("ada", 12, 13, False)


def test_a_stream_has_openais_events_in_their_order(client: openai.OpenAI, provider: Served) -> None:
    seen = list(client.responses.create(model=MODEL, input="hello world", stream=True, user="ben"))

    kinds = [event.type.removeprefix("response.") for event in seen]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * 13,
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == SENTENCE
    [last] = [event.response for event in seen if event.type == "response.completed"]
    assert last.output_text == SENTENCE
    assert last.usage is not None
    assert (last.usage.input_tokens, last.usage.output_tokens) == (8, 13)
    call = last_call(provider)
    assert (call["who"], call["pieces"], call["stream"], call["completed"]) == ("ben", 13, True, True)


def test_every_event_is_named_by_its_type_and_none_says_done(provider: Served) -> None:
    reply = ask(provider, body(stream=True), PATH)

    names = [line[7:] for line in reply.text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events(reply)]
    assert "[DONE]" not in reply.text


def test_what_the_client_accumulates_is_the_response(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="hello world") as stream:
        final = stream.get_final_response()

    assert final.output_text == SENTENCE
    assert client.responses.retrieve(final.id).output_text == SENTENCE


def test_a_function_is_called_plain_and_streamed(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": "a", "tools": [TOOL], "metadata": scripted(tool_calls=True)}
    [call] = client.responses.create(**asked).output
    seen: list[Any] = list(client.responses.create(**asked, stream=True))

    assert call.type == "function_call"
    assert (call.name, call.arguments, call.status) == ("get_time", '{"city":"Paris"}', "completed")
    deltas = [event.delta for event in seen if event.type == "response.function_call_arguments.delta"]
    [done] = [event for event in seen if event.type == "response.function_call_arguments.done"]
    assert ("".join(deltas), len(deltas), done.arguments) == (call.arguments, 5, call.arguments)
    assert seen[-1].response.usage.output_tokens == 5


def test_the_output_of_a_function_goes_back_as_an_item(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="a", tools=[TOOL], metadata=scripted(tool_calls=True))
    [call] = first.output
    assert call.type == "function_call"

    answered: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "12:00"}
    second = client.responses.create(model=MODEL, input=[answered], previous_response_id=first.id)

    assert second.previous_response_id == first.id
    assert second.output_text == SENTENCE


@pytest.mark.parametrize("stream", [False, True])
def test_a_cap_leaves_a_response_incomplete_and_says_why(provider: Served, stream: bool) -> None:
    reply = ask(provider, body({"pieces": 30}, max_output_tokens=16, stream=stream), PATH)

    final = last_of(events(reply), "response.incomplete") if stream else reply.json()
    assert (final["status"], final["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert final["usage"]["output_tokens"] == 16
    assert final["output"][0]["status"] == "incomplete"


def test_what_is_thought_is_counted_and_not_shown(provider: Served) -> None:
    script = {"reasoning_tokens": 100, "cached_tokens": 5}
    usage = ask(provider, body(script, max_output_tokens=110), PATH).json()["usage"]
    nothing = ask(provider, body(script, max_output_tokens=16), PATH).json()
    broken = ask(provider, body({**script, "end_after": 2}, stream=True), PATH)

    assert (usage["output_tokens"], usage["output_tokens_details"]["reasoning_tokens"]) == (110, 100)
    assert usage["input_tokens_details"]["cached_tokens"] == 5
    assert (nothing["output"], nothing["usage"]["output_tokens"]) == ([], 16)
    assert broken.text.count("output_text.delta") == 2 * 2
    assert last_call(provider)["pieces"] == 102


def test_an_answer_follows_its_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "ages": {"type": "array", "items": {"type": "integer"}}},
    }
    form: Any = {"format": {"type": "json_schema", "name": "people", "schema": schema}}
    made = client.responses.create(model=MODEL, input="a", text=form)

    assert made.output_text == '{"name":"Paris","ages":[1]}'
    assert made.usage is not None
    assert made.usage.output_tokens > 5


def test_a_failure_in_mid_stream_is_told_as_such(client: openai.OpenAI) -> None:
    script = scripted(error_event_after=2, error={"code": "server_error", "message": "overloaded"})
    seen = list(client.responses.create(model=MODEL, input="a", stream=True, metadata=script))

    last = seen[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert (last.response.status, last.response.error.message) == ("failed", "overloaded")
    assert last.sequence_number == len(seen) - 1


def test_odd_usage_splits_and_padding_work_as_for_chats(provider: Served) -> None:
    script = {"usage": "negative", "split": "odd", "padding": 9, "crlf": True, "comments": True}
    seen = events(ask(provider, body(script, stream=True), PATH))

    assert seen[-1]["response"]["usage"]["output_tokens"] == -13
    assert [event["obfuscation"] for event in seen if event["type"] == "response.output_text.delta"] == ["x" * 9] * 13
    assert "usage" not in ask(provider, body({"usage": "omit"}), PATH).json()
    twice = events(ask(provider, body({"usage": "twice"}, stream=True), PATH))
    assert twice[1]["response"]["usage"] == twice[-1]["response"]["usage"]


def test_an_error_is_answered_as_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model=MODEL, input="a", metadata=scripted(status=429))
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="gpt-9", input="a")


def last_of(seen: list[Any], kind: str) -> Any:
    """The response of the terminal event."""
    found: Iterator[Any] = (event["response"] for event in reversed(seen) if event["type"] == kind)
    return next(found)
