import pytest

from gateway.throttle import FailureThrottle, client_address
from sentinel.exceptions import RateLimitExceeded
from sentinel.lib import clock

TRUSTED = frozenset({"10.0.0.1", "10.0.0.2"})


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def test_an_address_may_fail_so_often_in_a_minute_and_then_waits_for_its_end(time: Time) -> None:
    throttle = FailureThrottle(2)
    throttle.failed("a")
    time.now += 20
    throttle.check("a")
    throttle.failed("a")

    with pytest.raises(RateLimitExceeded) as refused:
        throttle.check("a")
    throttle.check("b")
    time.now += 40
    throttle.check("a")

    assert refused.value.retry_after_seconds == 41


def test_failures_of_an_earlier_minute_do_not_count(time: Time) -> None:
    throttle = FailureThrottle(2)
    for _ in range(5):
        throttle.failed("a")
        time.now += 61
        throttle.check("a")


@pytest.mark.usefixtures("time")
def test_memory_is_bounded_and_the_oldest_address_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.throttle._ADDRESSES", 3)
    throttle = FailureThrottle(1)

    for address in "abcd":
        throttle.failed(address)

    throttle.check("a")
    for address in "bcd":
        with pytest.raises(RateLimitExceeded):
            throttle.check(address)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("1.1.1.1", None, "1.1.1.1"),
        ("1.1.1.1", "9.9.9.9", "1.1.1.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "6.6.6.6, 9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "9.9.9.9, 10.0.0.2", "9.9.9.9"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", "x" * 100, "x" * 64),
    ],
)
def test_only_a_trusted_proxy_says_who_it_speaks_for(peer: str, forwarded: str | None, address: str) -> None:
    assert client_address((peer, 1), forwarded, TRUSTED) == address


def test_a_peer_without_an_address_has_a_name_too() -> None:
    assert client_address(None, "9.9.9.9", TRUSTED) == "unknown"
