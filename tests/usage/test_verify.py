"""Adding up one user's ledgers. Pure."""

from collections import Counter

import pytest

from sentinel.zion.schemas import Limit
from usage.verify import (
    Account,
    Difference,
    Flight,
    Quota,
    Standing,
    account_of,
    differences,
    differences_at_zion,
    steady,
)

Q = "ai_usage.output"


def make_account(
    *, used: int = 0, pending: int = 0, held: int = 0, end: int = 7, doubt: int = 0, active: int = 0, due: bool = False
) -> Account:
    return Account("ext-ada", {Q: Quota(used, pending, held, end, doubt)}, frozenset({Q}), active, due)


def at_zion(used: int, *, end: int | None = 7, limit: int | None = 100) -> list[Limit]:
    return [Limit("ai_usage", "output", limit, used, "MONTHLY", None, end)]


def test_a_hash_is_read_with_quotas_that_are_no_longer_limited() -> None:
    account = account_of(
        "ext-ada", {"quotas": Q, f"{Q}:used": "3", f"{Q}:end": "7", "old.input:pending": "2", "active": "1"}
    )

    assert account == Account(
        "ext-ada", {Q: Quota(3, 0, 0, 7, 0), "old.input": Quota(0, 2, 0, 0, 0)}, frozenset({Q}), 1, is_refresh_due=False
    )


def test_equal_ledgers_have_no_difference() -> None:
    flight = Flight()
    flight.hold("c1", f"{Q}|7|50", is_leased=True)
    flight.charge(f"{Q}|7|5 {Q}|7|6", Standing.ABSENT)
    flight.charge(f"{Q}|7|20", Standing.DOUBTED)
    flight.charge(f"{Q}|7|30", Standing.HELD)

    assert differences(make_account(pending=61, held=50, active=1, doubt=30), flight) == []
    assert flight.in_doubt == {(Q, 7): 50}


def test_charges_and_holds_of_a_period_that_is_over_do_not_count() -> None:
    flight = Flight(open_calls=1, held=Counter({(Q, 6): 50}), pending=Counter({(Q, 6): 5}))

    assert differences(make_account(active=1), flight) == []


def test_each_difference_says_where_it_is_and_by_how_much() -> None:
    flight = Flight(open_calls=1, again={"c9"}, unleased={"c8"})

    found = differences(make_account(pending=11, held=50, doubt=3), flight)

    assert [(each.check, each.where, each.expected, each.found) for each in found] == [
        ("active", "active", 1, 0),
        ("held", f"{Q}:held", 0, 50),
        ("pending", f"{Q}:pending", 0, 11),
        ("doubt", f"{Q}:doubt", 0, 3),
        ("twice", "c9", 1, 2),
        ("lease", "c8", 1, 0),
    ]


def test_what_is_under_way_of_a_user_whose_hash_is_gone_is_a_difference() -> None:
    flight = Flight(pending=Counter({(Q, 6): 5}))

    assert differences(account_of("ext-ada", {}), flight) == [Difference("pending", "ext-ada", f"{Q}:pending", 5, 0)]


@pytest.mark.parametrize(
    ("ours", "theirs", "doubt", "is_due", "differs"),
    [
        (10, 10, 0, False, False),
        (10, 11, 0, False, True),
        (10, 9, 0, False, True),
        (10, 14, 5, False, False),
        (10, 16, 5, False, True),
        (10, 9, 5, False, True),
        (10, 9, 0, True, False),
        (10, 11, 0, True, True),
    ],
)
def test_zions_figure_is_ours_but_for_what_is_in_doubt(
    *, ours: int, theirs: int, doubt: int, is_due: bool, differs: bool
) -> None:
    flight = Flight(in_doubt=Counter({(Q, 7): doubt}))

    found = differences_at_zion(make_account(used=ours, due=is_due), flight, at_zion(theirs))

    assert bool(found) is differs


def test_figures_of_different_periods_and_without_a_limit_are_not_compared() -> None:
    account = make_account(used=10)

    assert differences_at_zion(account, Flight(), at_zion(0, end=8)) == []
    assert differences_at_zion(account, Flight(), at_zion(0, limit=None)) == []


def test_a_user_whom_zion_does_not_know_is_a_difference() -> None:
    (found,) = differences_at_zion(make_account(), Flight(), None)

    assert (found.check, found.hint) == ("zion", "Zion does not know this user")


def test_only_what_differs_twice_by_as_much_counts() -> None:
    held, moved = Difference("held", "u", "a", 5, 7), Difference("held", "u", "b", 5, 7)

    assert steady([held, moved], [Difference("held", "u", "a", 15, 17), Difference("held", "u", "b", 5, 8)]) == [held]
