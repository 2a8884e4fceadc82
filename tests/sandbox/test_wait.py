import pytest

from tests.wait import eventually, until


def test_until_gives_the_first_true_answer() -> None:
    answers = iter([0, "", "here"])

    assert until(lambda: next(answers)) == "here"


def test_until_complains_after_its_deadline() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.02 s: the tide"):
        until(lambda: False, 0.02, "the tide")


async def test_eventually_takes_plain_and_asynchronous_predicates() -> None:
    answers = iter([0, 1, 0, 2])

    async def ask() -> int:
        return next(answers)

    assert await eventually(ask) == 1
    assert await eventually(lambda: next(answers)) == 2
    with pytest.raises(AssertionError, match="not within"):
        await eventually(lambda: False, 0.02)
