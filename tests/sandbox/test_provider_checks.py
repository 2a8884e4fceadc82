from typing import Any

import pytest

from sentinel.sandbox import provider_checks as checks


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (lambda: checks.count({"n": 0}, "n", 4), "integer_below_min_value"),
        (lambda: checks.count({"n": 5}, "n", 4), "invalid_value"),
        (lambda: checks.count({"n": True}, "n", 4), "invalid_type"),
        (lambda: checks.flag({"n": 1}, "n"), "invalid_type"),
        (lambda: checks.text({}, "n"), "missing_required_parameter"),
        (lambda: checks.text({"n": 5}, "n"), "invalid_type"),
        (lambda: checks.text({"n": "abc"}, "n", 2), "string_above_max_length"),
        (lambda: checks.one_of({"n": "c"}, "n", ("a", "b"), "a"), "invalid_value"),
    ],
)
def test_a_field_that_is_not_as_it_must_be_is_refused_by_name(check: Any, code: str) -> None:
    with pytest.raises(checks.Refused) as refused:
        check()

    assert (refused.value.status, refused.value.error["param"], refused.value.error["code"]) == (400, "n", code)


def test_a_field_that_is_not_there_or_null_has_its_default() -> None:
    assert checks.count({"n": None}, "n", 4) is None
    assert checks.flag({}, "n") is False
    assert checks.one_of({"n": None}, "n", ("a", "b"), "b") == "b"
