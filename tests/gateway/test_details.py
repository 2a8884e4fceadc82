"""Details of usage: read under each of their names, and never in the way of the counts beside them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import reported
from gateway.details import Reported
from gateway.reported import Problem, Usage
from usage.values import NO_DETAILS, Details

CHAT = {"prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100}
OTHERS = {"input_tokens": 900, "output_tokens": 200, "total_tokens": 1100}
NAMES = ("cached_tokens", "audio_tokens", "image_tokens", "reasoning_tokens")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=4),
    max_leaves=20,
)
COUNTS = st.dictionaries(st.sampled_from(NAMES), st.integers(-1, 2**32) | JSON, max_size=4)


def read(usage: dict[str, Any]) -> Usage | Problem:
    payload, wrapped = (json.dumps(reply).encode() for reply in ({"usage": usage}, {"response": {"usage": usage}}))
    found = reported.examine(payload)
    assert reported.examine(wrapped) == found
    return found


def details(usage: dict[str, Any]) -> Details:
    found = read(usage)
    assert isinstance(found, Usage)
    assert (found.input, found.output) == (900, 200)
    return found.details


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT, NO_DETAILS),
        (
            CHAT
            | {
                "prompt_tokens_details": {"cached_tokens": 512, "audio_tokens": 7},
                "completion_tokens_details": {
                    "reasoning_tokens": 64, "audio_tokens": 9, "accepted_prediction_tokens": 3,
                },
            },
            Details(cached_input=512, audio_input=7, reasoning_output=64, audio_output=9),
        ),
        (
            OTHERS
            | {"input_tokens_details": {"cached_tokens": 512}, "output_tokens_details": {"reasoning_tokens": 64}},
            Details(cached_input=512, reasoning_output=64),
        ),
        (OTHERS | {"input_tokens_details": {"text_tokens": 10, "image_tokens": 890}}, Details(image_input=890)),
        (OTHERS | {"input_tokens_details": {"audio_tokens": 890}}, Details(audio_input=890)),
        (OTHERS | {"type": "tokens", "input_token_details": {"audio_tokens": 890}}, Details(audio_input=890)),
    ],
)  # fmt: skip
def test_each_kind_of_answer_has_its_details(usage: dict[str, Any], expected: Details) -> None:
    assert details(usage) == expected


@pytest.mark.parametrize("part", [None, -1, 0, 1.0, 1.5, 2**31 + 1, 2**80, "5", True, [], {}])
def test_a_detail_that_is_no_count_is_left_out_and_those_beside_it_are_kept(part: object) -> None:
    odd = {"prompt_tokens_details": {"cached_tokens": part, "audio_tokens": 7}}

    assert details(CHAT | odd) == Details(audio_input=7)


@pytest.mark.parametrize("member", Reported.__struct_fields__)
@pytest.mark.parametrize(
    "written", ["null", "5", '"\\ud800"', "[1]", "true", "9" * 5000, "1e999", '{"cached_tokens":1e999}']
)
def test_details_that_are_no_object_are_left_out(member: str, written: str) -> None:
    payload = f'{{"usage":{{"prompt_tokens":9,"completion_tokens":2,"{member}":{written}}}}}'.encode()

    assert reported.examine(payload) == Usage(9, 2)


def test_the_largest_count_is_believed() -> None:
    assert details(CHAT | {"prompt_tokens_details": {"cached_tokens": 2**31}}) == Details(cached_input=2**31)


@given(st.dictionaries(st.sampled_from(Reported.__struct_fields__), JSON | COUNTS))
def test_no_json_in_details_makes_usage_unusable(odd: dict[str, Any]) -> None:
    found = details(CHAT | odd)

    assert all(0 < count <= 2**31 for count in found.told().values())


@pytest.mark.parametrize("count", ["null", "-1", "1.0", '"5"', "9" * 5000])
def test_counts_are_not_mended(count: str) -> None:
    payload = f'{{"usage":{{"prompt_tokens":{count},"completion_tokens":1,"prompt_tokens_details":5}}}}'.encode()

    assert reported.examine(payload) is Problem.INVALID


@pytest.mark.parametrize(
    "rest", [b'"completion_tokens":2}} and more', b'"completion_tokens":2,"x":"\xff"}}', b'"x":' + b"[" * 100_000]
)
def test_odd_details_in_a_reply_that_cannot_be_read_are_no_usage(rest: bytes) -> None:
    assert reported.examine(b'{"usage":{"prompt_tokens_details":5,"prompt_tokens":9,' + rest) is Problem.INVALID
