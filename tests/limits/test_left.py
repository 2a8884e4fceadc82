"""What a grant says is left of each quota, beside its own hold."""

import pytest

from tests.limits.make import admit, configure, make_admission, make_ask, make_limit, make_limits, store

pytestmark = pytest.mark.usefixtures("ledger")


async def test_a_grant_says_what_is_left_beside_its_hold() -> None:
    store(*make_limits(input=1000, output=500, requests=10))

    first = await admit(make_admission(), make_ask(30, cap=100))
    second = await admit(make_admission(), make_ask(30, cap=100))

    assert first.left == "input=970, output=400, requests=9"
    assert second.left == "input=940, output=300, requests=8"


async def test_an_unlimited_metric_is_not_named() -> None:
    store(*make_limits(input=None, output=500, requests=None))

    assert (await admit(make_admission(), make_ask(30, cap=100))).left == "output=400"


async def test_of_several_quotas_of_a_metric_the_tightest_counts() -> None:
    store(make_limit("output", 500, name="day"), make_limit("output", 300, name="month"))

    assert (await admit(make_admission(), make_ask(cap=100))).left == "output=200"


async def test_nothing_left_is_never_less_than_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_mode="observe")
    store(make_limit("output", 50, used=80))

    assert (await admit(make_admission(), make_ask(cap=100))).left == "output=0"
