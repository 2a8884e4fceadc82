import pytest

from limits.ledger_clock import LedgerClock
from sentinel.lib import clock


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Our monotonic clock, to be set."""
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return now


def test_before_anything_was_heard_every_deadline_is_past() -> None:
    assert LedgerClock().after(10.0) == 0


def test_the_time_of_redis_is_carried_on_from_its_last_reply(seconds: list[float]) -> None:
    ledger = LedgerClock()
    ledger.heard(1_000_000)
    seconds[0] += 2.5

    assert ledger.after(0.5) == 1_003_000


def test_the_last_reply_counts_whatever_was_said_before(seconds: list[float]) -> None:
    ledger = LedgerClock()
    ledger.heard(9_000_000)
    ledger.heard(1_000_000)

    assert ledger.after(0.0) == 1_000_000
