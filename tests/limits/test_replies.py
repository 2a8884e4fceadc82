import re
from dataclasses import fields, replace

import pytest

from limits.replies import AdmitReply, Revoked, refusal
from sentinel.config import BASE_DIR
from sentinel.exceptions import CallError, Forbidden, QuotaExceeded, QuotaStoreUnavailable, RateLimitExceeded

pytestmark = pytest.mark.usefixtures("ledger")
HELD = AdmitReply("held", 1000, 7, 61_000, -1, 0, 0, 0, "", "ai_usage.output", 100, 30, 60, 5000, 0)


def test_the_fields_stand_in_the_order_of_the_script() -> None:
    source = (BASE_DIR / "limits" / "lua" / "admit.lua").read_text()
    found = re.search(r"return \{(decision, now,.*?)\}", source, re.DOTALL)
    assert found is not None
    names = [re.sub(r"^fields\.|\s+or .*$", "", part.strip()) for part in found[1].split(",")]

    expected = [{"would_refuse": "would"}.get(field.name, field.name) for field in fields(AdmitReply)]
    assert names == expected


def test_a_reply_is_read_by_position_and_decoded() -> None:
    reply = AdmitReply.read([b"admitted", 1, 2, 3, 4, 5, 6, 7, b"rate", b"q", 8, 9, 10, 11, 12])

    assert (reply.decision, reply.cap, reply.would_refuse, reply.before) == ("admitted", 4, "rate", 12)


@pytest.mark.parametrize(
    ("decision", "kind"),
    [
        ("revoked", Revoked),
        ("blocked", Forbidden),
        ("empty", Forbidden),
        ("duplicate", QuotaStoreUnavailable),
        ("rate", RateLimitExceeded),
        ("concurrent", RateLimitExceeded),
        ("quota", QuotaExceeded),
        ("held", QuotaExceeded),
    ],
)
def test_each_refusal_has_its_error(decision: str, kind: type[Exception]) -> None:
    assert type(refusal(replace(HELD, decision=decision))) is kind


def test_a_quota_refusal_says_how_much_and_until_when() -> None:
    error = refusal(replace(HELD, decision="quota"))

    assert isinstance(error, CallError)
    assert error.details == {
        "metric": "output", "limit": 100, "used": 30, "held": 60, "remaining": 10, "reset_at": 5000
    }  # fmt: skip
    assert (error.retry_after_seconds, error.should_retry, error.rate) == (4, False, (100, 7, 61_000))


def test_a_quota_without_a_period_promises_no_time() -> None:
    error = refusal(replace(HELD, decision="quota", period_end=0))

    assert isinstance(error, CallError)
    assert error.retry_after_seconds is None
    assert error.details is not None
    assert error.details["reset_at"] is None


def test_the_rate_refusal_says_when_the_oldest_call_leaves_the_window() -> None:
    error = refusal(replace(HELD, decision="rate", reset=3001))

    assert isinstance(error, CallError)
    assert (error.retry_after_seconds, error.rate) == (3, (100, 7, 3001))
