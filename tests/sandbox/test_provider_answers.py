from typing import Any

import orjson
import pytest

from sentinel.sandbox.provider_answers import Answer, plain_body, stream_events
from sentinel.sandbox.provider_asks import Ask, parse_chat
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import text_tokens
from tests.sandbox.calls import chat


def make_answer(script: Script | None = None, **fields: Any) -> Answer:
    return Answer(parse_chat(chat(**fields)), script or Script(), "chatcmpl-1", 1_700_000_000)


def usages(answer: Answer) -> list[Any]:
    """The usage of every chunk that has one."""
    chunks = [data[6:].strip() for data, _ in stream_events(answer)][:-1]
    return [usage for chunk in chunks if (usage := orjson.loads(chunk).get("usage")) is not None]


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("script", [Script(pieces=200), Script(), Script(tool_calls=True)])
def test_every_piece_is_one_token_also_when_counted_together(encoding: str, script: Script) -> None:
    answer = make_answer(script)

    text = "".join(answer.pieces())

    assert text_tokens(text, encoding) == answer.count


def test_a_cap_cuts_the_answer_and_says_so() -> None:
    short, exact = make_answer(max_tokens=5), make_answer(max_tokens=13)

    assert (short.count, short.finish_reason) == (5, "length")
    assert (exact.count, exact.finish_reason) == (13, "stop")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("normal", {"prompt_tokens": 9, "completion_tokens": 13, "total_tokens": 22}),
        ("zero", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        ("negative", {"prompt_tokens": -9, "completion_tokens": -13, "total_tokens": -22}),
        ("string", {"prompt_tokens": "9", "completion_tokens": "13", "total_tokens": "22"}),
        ("absurd", {"prompt_tokens": 10**12, "completion_tokens": 10**12, "total_tokens": 2 * 10**12}),
    ],
)
def test_usage_is_reported_as_told(form: str, expected: dict[str, Any]) -> None:
    plain = orjson.loads(plain_body(make_answer(Script(usage=form))))["usage"]
    [streamed] = usages(make_answer(Script(usage=form), stream=True, stream_options={"include_usage": True}))

    assert plain == streamed
    assert {name: plain[name] for name in expected} == expected


def test_usage_can_be_left_out_or_null() -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}

    assert "usage" not in orjson.loads(plain_body(make_answer(Script(usage="omit"))))
    assert orjson.loads(plain_body(make_answer(Script(usage="null"))))["usage"] is None
    assert usages(make_answer(Script(usage="omit"), **asked)) == []
    assert usages(make_answer(Script(usage="null"), **asked)) == []
    assert usages(make_answer(stream=True)) == []


def test_usage_twice_or_running_ends_with_the_right_figures() -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}

    twice = usages(make_answer(Script(usage="twice"), **asked))
    running = usages(make_answer(Script(usage="cumulative"), **asked))

    assert [usage["completion_tokens"] for usage in twice] == [6, 13]
    assert [usage["completion_tokens"] for usage in running] == [0, *range(1, 14), 13, 13]


def test_all_choices_are_streamed_and_billed() -> None:
    answer = make_answer(Script(pieces=4), stream=True, n=3)

    assert sum(pieces for _, pieces in stream_events(answer)) == answer.completion_tokens == 12


def test_what_is_made_and_not_shown_is_billed() -> None:
    ask = Ask("gpt-4o", False, 1, choices=1, generated=3, cap=5, is_stream=False, include_usage=False)

    body = orjson.loads(plain_body(Answer(ask, Script(), "cmpl-1", 0)))

    assert len(body["choices"]) == 1
    assert body["usage"]["completion_tokens"] == 15


def test_what_is_thought_is_billed_before_the_first_piece_and_counts_towards_the_cap() -> None:
    answer = make_answer(Script(reasoning_tokens=5), stream=True, max_completion_tokens=8, n=2)
    usage = orjson.loads(plain_body(answer))["usage"]

    assert (answer.count, answer.hidden, answer.completion_tokens) == (3, 10, 16)
    assert usage["completion_tokens"] == 16
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 10
    assert sum(pieces for _, pieces in stream_events(answer)) == 6
