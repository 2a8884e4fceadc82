from typing import Any

import pytest

from sentinel.sandbox.provider_script import Script, carried, directed

STANDING = Script(interval_ms=5)


def test_a_call_changes_the_standing_script_for_itself() -> None:
    script = carried(STANDING, {"sandbox": '{"pieces": 3}', "who": "ada"})

    assert script == Script(interval_ms=5, pieces=3)
    assert carried(STANDING, {"who": "ada"}) is STANDING
    assert carried(STANDING, None) is STANDING


def test_of_several_ends_the_earliest_counts() -> None:
    assert Script(break_after=5, hang_after=2).stop() == (2, "hang")
    assert Script().stop() is None


@pytest.mark.parametrize(
    "raw",
    [
        [],
        {"colour": "red"},
        {"pieces": "3"},
        {"pieces": True},
        {"html": 1},
        {"split": "odds"},
        {"usage": "none"},
        {"headers": []},
        {"split": []},
        {"split": [0]},
        {"split": [True]},
        {"verbatim": "not base64"},
        {"cached_tokens": 1.5},
    ],
)
def test_a_script_that_is_not_understood_is_an_error(raw: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        directed(STANDING, raw)
