"""The usage that a provider reports: believed where it can be, however the bytes around it look."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reported import Problem, Usage, examine, examine_piece, read_usage

REPORT = b'"usage":{"input_tokens":3,"output_tokens":5,"details":{"a":[1]}}'


@pytest.mark.parametrize(
    "reported",
    [
        {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        {"input_tokens": 3, "output_tokens": 5},
        {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": None, "cost": 1e-9},
    ],
)
def test_usage_is_read_under_either_name(reported: dict[str, object]) -> None:
    assert read_usage(json.dumps({"id": "x", "usage": reported}).encode()) == Usage(3, 5)
    assert read_usage(json.dumps({"type": "x", "response": {"usage": reported}}).encode()) == Usage(3, 5)


def test_zero_is_a_value() -> None:
    assert read_usage(b'{"usage":{"prompt_tokens":0,"completion_tokens":0}}') == Usage(0, 0)


def test_embeddings_report_no_output() -> None:
    assert read_usage(b'{"usage":{"prompt_tokens":8,"total_tokens":8}}') == Usage(8, 0)


def test_the_largest_count_is_believed() -> None:
    reported = b'{"usage":{"prompt_tokens":1,"completion_tokens":2147483648}}'

    assert read_usage(reported) == Usage(1, 2**31)


@pytest.mark.parametrize(
    "count", ["null", "-1", "2147483649", "1.0", "1e12", '"5"', "true", "[]", "{}", "9" * 40, "1e999"]
)
def test_a_count_that_is_no_count_is_not_believed(count: str) -> None:
    for reported in (
        f'"prompt_tokens":{count},"completion_tokens":1',
        f'"prompt_tokens":1,"completion_tokens":{count}',
    ):
        payload = f'{{"usage":{{{reported}}}}}'.encode()

        assert read_usage(payload) is None
        assert examine(payload) is Problem.INVALID


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"{}", Problem.MISSING),
        (b'{"usage":null}', Problem.MISSING),
        (b'{"response":{"usage":null}}', Problem.MISSING),
        (b'{"response":null}', Problem.MISSING),
        (b'{"usage":{}}', Problem.INVALID),
        (b'{"usage":{"prompt_tokens":1}}', Problem.INVALID),
        (b'{"usage":"many"}', Problem.INVALID),
        (b"[]", Problem.INVALID),
        (b"", Problem.UNPARSABLE),
        (b"{", Problem.UNPARSABLE),
        (b"<html>", Problem.UNPARSABLE),
        (b'{"a":"\xff","b":"\\ud800"}', Problem.UNPARSABLE),
        (b'{"a":' + b"[" * 100_000, Problem.UNPARSABLE),
    ],
)
def test_a_reply_without_usage_says_why(payload: bytes, problem: Problem) -> None:
    assert examine(payload) is problem


def test_lone_surrogates_beside_the_usage_do_not_hide_it() -> None:
    assert read_usage(b'{"x":"\\ud800","usage":{"prompt_tokens":1,"completion_tokens":2}}') == Usage(1, 2)


@given(st.binary())
def test_no_bytes_make_reading_fail(payload: bytes) -> None:
    read_usage(payload)


@pytest.mark.parametrize(
    ("piece", "found"),
    [
        (b'AAAA"' + b"," + REPORT + b"}}", Usage(3, 5)),
        (REPORT, Usage(3, 5)),
        (REPORT.replace(b":", b" : \n"), Usage(3, 5)),
        (b'"usage":{"prompt_tokens":1,"completion_tokens":1},' + REPORT + b"}\n\n", Usage(3, 5)),
        (b'\xe2\x82","b":"\xff",' + REPORT + b"}", Usage(3, 5)),
        (REPORT + b',"b":"' + b"x" * 3000, Usage(3, 5)),
        (REPORT[:-1], Problem.UNPARSABLE),
        (b'"usage":{' + b'"a":[' * 100_000, Problem.UNPARSABLE),
        (b'"usage":{"input_tokens":-3,"output_tokens":5}', Problem.INVALID),
        (b'"usage":{}', Problem.INVALID),
        (b'"usage":null}', Problem.MISSING),
        (b'"text":"\\"usage\\":{\\"input_tokens\\":3}"', Problem.MISSING),
        (b"", Problem.MISSING),
    ],
)
def test_the_last_usage_of_a_piece_is_read_wherever_it_was_cut(piece: bytes, found: Usage | Problem) -> None:
    assert examine_piece(piece) == found
