import pytest

from sentinel.exceptions import SentinelError
from sentinel.zion.schemas import (
    Delivery,
    Verdict,
    ZionError,
    ZionForbidden,
    ZionRejectedToken,
    ZionUnavailable,
    ZionUnknownUser,
)


@pytest.mark.parametrize("error", [ZionForbidden, ZionRejectedToken, ZionUnavailable, ZionUnknownUser])
def test_every_failure_of_zion_is_one_of_ours(error: type[Exception]) -> None:
    assert issubclass(error, ZionError)
    assert issubclass(error, SentinelError)


def test_verdicts_are_their_own_text() -> None:
    assert [str(verdict) for verdict in Verdict] == ["applied", "not_applied", "rejected", "ambiguous"]


def test_a_delivery_that_says_no_more_trips_nothing() -> None:
    delivery = Delivery(Verdict.APPLIED, "")

    assert (delivery.items, delivery.trips_breaker, delivery.key_refused) == ((), False, False)
