from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limits.values import period_after


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("end", "reset", "following"),
    [
        ("2026-03-01T00:00:00", "DAILY", "2026-03-02T00:00:00"),
        ("2026-03-01T00:00:00", "WEEKLY", "2026-03-08T00:00:00"),
        ("2026-03-01T00:00:00", "MONTHLY", "2026-04-01T00:00:00"),
        ("2026-12-01T00:00:00", "MONTHLY", "2027-01-01T00:00:00"),
        ("2026-11-15T10:30:00", "MONTHLY", "2026-12-15T10:30:00"),
        ("2026-12-31T23:59:59.999", "MONTHLY", "2027-01-31T23:59:59.999"),
        ("2026-01-31T23:59:59.999", "MONTHLY", "2026-02-28T23:59:59.999"),
        ("2026-02-28T23:59:59.999", "MONTHLY", "2026-03-31T23:59:59.999"),
        ("2028-01-30T00:00:00", "MONTHLY", "2028-02-29T00:00:00"),
        ("2026-04-30T23:59:59.999", "MONTHLY", "2026-05-31T23:59:59.999"),
    ],
)
def test_the_period_that_follows(end: str, reset: str, following: str) -> None:
    assert period_after(ms(end), reset) == ms(following)


@pytest.mark.parametrize("reset", ["", "NEVER", "YEARLY"])
def test_a_period_that_does_not_repeat_has_none_that_follows(reset: str) -> None:
    assert period_after(ms("2026-03-01T00:00:00"), reset) is None


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]))
def test_periods_always_advance_and_keep_the_time_of_day(end: int, reset: str) -> None:
    following = period_after(end, reset)

    assert following is not None
    assert 86_400_000 <= following - end <= 31 * 86_400_000
    assert following % 86_400_000 == end % 86_400_000
