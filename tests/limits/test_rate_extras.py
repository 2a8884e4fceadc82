"""The optional bounds of the rate window: calls in any second, tokens per window."""

import pytest

from limits import keys
from limits.admission import release
from sentinel.exceptions import RateLimitExceeded
from sentinel.lib import redis as connections
from tests.limits.make import admit, configure, held, make_admission, make_ask, make_draft, make_limits, store
from usage.recorder import SETTLE, settle_call

pytestmark = pytest.mark.usefixtures("online")


async def test_a_burst_is_cut_within_any_second_though_the_window_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, rate_limit_burst=2)
    store(*make_limits())
    for number in range(2):
        await admit(make_admission(), make_ask(), call_id=f"c{number}")

    with pytest.raises(RateLimitExceeded) as refused:
        await admit(make_admission(), make_ask(), call_id="c2")

    assert refused.value.retry_after_seconds == 1
    assert connections.ledger().zcard(keys.rate("ext-ada")) == 2


async def test_tokens_of_running_calls_count_as_held_and_of_settled_calls_as_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, rate_limit_tokens=300)
    store(*make_limits())
    await admit(make_admission(), make_ask(100, cap=100), call_id="c1")
    with pytest.raises(RateLimitExceeded, match="tokens"):
        await admit(make_admission(), make_ask(100, cap=100), call_id="c2")
    assert held("input") == 100

    SETTLE.run(*settle_call(make_draft("c1")))

    await admit(make_admission(), make_ask(100, cap=100), call_id="c3")


async def test_a_grant_without_a_cap_is_lowered_to_the_tokens_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, rate_limit_tokens=300)
    store(*make_limits())

    grant = await admit(make_admission(), make_ask(100, cap=None), call_id="c1")

    assert (grant.cap, grant.held_output) == (200, 200)


async def test_a_released_call_gives_its_tokens_back(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, rate_limit_tokens=200)
    store(*make_limits())
    grant = await admit(make_admission(), make_ask(100, cap=100), call_id="c1")

    await release(grant)

    assert (await admit(make_admission(), make_ask(100, cap=100), call_id="c2")).cap == 100
