"""Bounds of input tokens."""

import json
import math

import pytest

from gateway import prompts
from gateway.bodies import Body
from sentinel.exceptions import BadRequest


def words(text: str) -> int:
    return len(text.split())


def chat(*messages: object, model: str = "gpt-4o", **members: object) -> int:
    return prompts.chat(Body.parse(json.dumps({"messages": messages, **members}).encode()), model, words)


def completion(prompt: object, **members: object) -> tuple[int, int]:
    return prompts.completion(Body.parse(json.dumps({"prompt": prompt, **members}).encode()), words)


def test_the_published_formula() -> None:
    assert chat() == 3
    assert chat({"role": "user", "content": ""}) == 3 + 3 + 1
    assert (
        chat({"role": "system", "content": "a b"}, {"role": "user", "content": "c", "name": "d"}) == 3 + 6 + 2 + 3 + 2
    )


def test_unknown_roles_and_members_are_counted_as_json() -> None:
    assert chat({"role": "a wizard", "content": None}) == 3 + 3 + 2
    assert chat({"role": "assistant", "tool_calls": [{"id": "1"}]}) == 3 + 3 + 1 + 1
    assert chat({"role": 5, "x": "\ud800"}) == 3 + 3 + 1 + 1


def test_parts_are_counted_by_their_kind() -> None:
    parts = [
        {"type": "text", "text": "a b"},
        {"type": "refusal", "refusal": "c"},
        {"type": "text", "text": None},
        {"type": "other", "x": 1},
        "odd",
    ]

    assert chat({"role": "user", "content": parts}) == 3 + 3 + 1 + 2 + 1 + 1 + 1 + 1


@pytest.mark.parametrize(
    ("model", "detail", "tokens"),
    [
        ("gpt-4o", "high", 1445),
        ("gpt-4o", "low", 1445),
        ("gpt-4o-mini", "auto", 48_169),
        ("gpt-4o-mini", "low", 2833),
        ("o1", "high", 1275),
        ("unknown", "high", 3779),
    ],
)
def test_an_image_is_bounded_by_its_model(model: str, detail: str, tokens: int) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": detail}}

    assert chat({"role": "user", "content": [part]}, model=model) == 7 + tokens


def test_audio_and_files_are_bounded_by_their_size() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 4000, "format": "wav"}}
    inline = {"type": "file", "file": {"file_data": "A" * 4000}}
    stored = {"type": "file", "file": {"file_id": "file-1"}}

    assert chat({"role": "user", "content": [audio]}) == 7 + 31
    assert chat({"role": "user", "content": [inline]}) == 7 + 751
    assert chat({"role": "user", "content": [stored]}) == 7 + prompts.STORED_FILE_TOKENS
    assert chat({"role": "user", "content": [{"type": "input_audio"}]}) == 7 + 1


def test_spaces_and_escapes_of_definitions_cost_nothing() -> None:
    text = '[{"type":"function","function":{"name":"find","description":"Füße"}}]'
    messages = '"model":"gpt-4o","messages":[]'
    escaped = json.dumps(json.loads(text), indent=4)

    counted = [
        prompts.chat(Body.parse(f'{{{messages},"tools":{tools}}}'.encode()), "gpt-4o", len) for tools in (text, escaped)
    ]

    assert counted == [3 + len(text) + prompts.PER_DEFINITION] * 2


def test_definitions_are_counted_as_their_text_and_a_constant_each() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]

    assert chat(tools=tools, response_format=None) == 3 + 1 + 2 * prompts.PER_DEFINITION
    assert chat(response_format={"type": "json_object"}) == 3 + 1 + prompts.PER_DEFINITION


@pytest.mark.parametrize("messages", [None, "text", {}, 5, ["text"], [None]])
def test_messages_must_be_a_list_of_objects(messages: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        prompts.chat(Body.parse(json.dumps({"messages": messages}).encode()), "gpt-4o", words)

    assert refusal.value.param == "messages"


@pytest.mark.parametrize(
    ("prompt", "figures"),
    [
        ("a b c", (3, 1)),
        ("", (0, 1)),
        (["a b", "c"], (3, 2)),
        ([1, 2, 3, 4], (4, 1)),
        ([[1, 2], [3]], (3, 2)),
        ([[], []], (0, 2)),
    ],
)
def test_a_prompt_is_text_or_tokens_or_many(prompt: object, figures: tuple[int, int]) -> None:
    assert completion(prompt) == figures


def test_a_suffix_counts_for_every_prompt() -> None:
    assert completion(["a", "b"], suffix="x y") == (2 + 4, 2)


@pytest.mark.parametrize("prompt", [None, [], 5, True, {}, [1, "a"], [True], [[1], "a"], [["a"]], [math.pi], [None]])
def test_other_prompts_are_refused(prompt: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        completion(prompt)

    assert refusal.value.param == "prompt"


def test_a_part_whose_type_is_no_text_is_counted_as_what_it_is() -> None:
    body = Body.parse(b'{"messages":[{"role":"user","content":[{"type":["a"],"text":"hello"}]}]}')

    assert prompts.chat(body, "gpt-4o", len) > 0


def response(given: object, *, model: str = "gpt-4o", **members: object) -> int:
    return prompts.responses(Body.parse(json.dumps({"input": given, **members}).encode()), model, words)


def test_the_text_of_a_response_is_one_message() -> None:
    assert response("a b") == 3 + 3 + 1 + 2
    assert response("a b") == response([{"role": "user", "content": "a b"}])
    assert response("a b", instructions="c") == response("a b") + 3 + 1 + 1


def test_a_stored_prompt_or_an_earlier_response_may_stand_for_the_input() -> None:
    assert response(None) == 3
    assert response([]) == 3
    assert response(None, prompt={"id": "p", "variables": {}}) == 3 + 2 - 1 + prompts.PER_DEFINITION


def test_labels_of_an_item_cost_nothing_and_the_rest_of_it_does() -> None:
    message = {"role": "user", "content": "a b"}
    labelled = {"type": "message", "id": "msg_1", "status": "completed", **message}

    assert response([labelled]) == response([message])
    assert response([{"type": "function_call", "id": "fc_1", "call_id": "c", "name": "find", "arguments": "a b"}]) == (
        3 + 3 + 1 + 1 + 2
    )
    assert response([{"type": "function_call_output", "call_id": "c", "output": "a b c"}]) == 3 + 3 + 1 + 3
    assert response([{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a b"}]}]) == (
        3 + 3 + 2
    )


def test_parts_of_a_response_are_counted_as_those_of_a_chat() -> None:
    parts = [
        {"type": "input_text", "text": "a b"},
        {"type": "output_text", "text": "c", "annotations": []},
        {"type": "refusal", "refusal": "d"},
        {"type": "input_text", "text": None},
    ]

    assert response([{"role": "user", "content": parts}]) == 3 + 3 + 1 + 2 + 1 + 1 + 1


@pytest.mark.parametrize("where", ["message", "output"])
def test_images_and_files_of_a_response_are_bounded(where: str) -> None:
    def extra(part: dict[str, object], model: str = "gpt-4o") -> int:
        item = {"role": "user"} if where == "message" else {"type": "function_call_output"}
        name = "content" if where == "message" else "output"
        return response([{**item, name: [part]}], model=model) - response([{**item, name: []}], model=model)

    assert extra({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}) == 1445
    assert extra({"type": "input_image", "file_id": "file-1", "detail": "low"}, "gpt-4o-mini") == 2833
    assert extra({"type": "input_file", "file_data": "A" * 4000}) == 751
    assert extra({"type": "input_file", "file_id": "file-1"}) == prompts.STORED_FILE_TOKENS
    assert extra({"type": "input_file", "file_url": "https://a.example/b"}) == prompts.STORED_FILE_TOKENS


def test_tools_and_the_format_of_a_response_are_counted_as_their_text() -> None:
    tools = [{"type": "function", "name": name} for name in ("a", "b")]

    assert response("x", tools=tools) == response("x") + 1 + 2 * prompts.PER_DEFINITION
    assert response("x", text={"format": {"type": "text"}}) == response("x") + 1 + prompts.PER_DEFINITION
    assert response("x", tools=None, tool_choice=None) == response("x")


@pytest.mark.parametrize("given", [5, True, {}, ["text"], [None], [[]]])
def test_the_input_of_a_response_is_a_text_or_a_list_of_items(given: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        response(given)

    assert refusal.value.param == "input"
