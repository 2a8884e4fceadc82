from typing import Any

import pytest

from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_usage import Counts, of_completions, of_input, of_response, report

COUNTS = Counts(9, 13, 4)


def test_details_are_parts_of_what_is_counted() -> None:
    script = Script(cached_tokens=5, audio_tokens=10, reasoning_tokens=4)

    chat: Any = of_completions(script, COUNTS, has_details=True)
    response: Any = of_response(script, COUNTS)

    assert (chat["prompt_tokens"], chat["completion_tokens"], chat["total_tokens"]) == (9, 13, 22)
    assert chat["prompt_tokens_details"] == {"cached_tokens": 5, "audio_tokens": 9}
    assert chat["completion_tokens_details"]["audio_tokens"] == 10
    assert chat["completion_tokens_details"]["reasoning_tokens"] == 4
    assert response["input_tokens_details"]["cached_tokens"] == 5
    assert response["output_tokens_details"] == {"reasoning_tokens": 4}


def test_the_older_endpoint_has_details_only_when_a_script_gives_some() -> None:
    plain: Any = of_completions(Script(), COUNTS, has_details=False)
    told: Any = of_completions(Script(cached_tokens=5), COUNTS, has_details=False)

    assert set(plain) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert told["prompt_tokens_details"]["cached_tokens"] == 5


@pytest.mark.parametrize(
    ("form", "expected"),
    [("zero", 0), ("negative", -9), ("string", "9"), ("absurd", 10**12), ("normal", 9), ("twice", 9)],
)
def test_every_shape_has_the_odd_forms(form: str, expected: object) -> None:
    response: Any = of_response(Script(usage=form), COUNTS)
    embedding: Any = of_input(Script(usage=form), Counts(9))

    assert response["input_tokens"] == embedding["prompt_tokens"] == expected
    assert "completion_tokens" not in embedding


def test_usage_is_null_or_left_out_when_told() -> None:
    value: dict[str, Any] = {}
    report(value, Script(usage="omit"), of_input(Script(), COUNTS))

    assert value == {}
    assert of_input(Script(usage="null"), COUNTS) is None
    assert of_response(Script(usage="null"), COUNTS) is None
