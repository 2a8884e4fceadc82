from datetime import UTC, datetime
from typing import Any

import pytest

from sentinel.sandbox import zion_wire as wire
from sentinel.sandbox.cast import ADA, DORA
from sentinel.sandbox.zion_ledger import Item

V4 = wire.Forms()
OLD = wire.Forms("externalId", "per_limit")
NOON = datetime(2025, 12, 15, 12, tzinfo=UTC)


def raw_item(**fields: Any) -> dict[str, Any]:
    return {"email": "ada@example.com", "aiRequests": 1, **fields}


def test_a_full_item_is_understood() -> None:
    raw = raw_item(aiInputTokens=2**62, model="gpt-4o", timestamp="2025-12-15T12:00:00.123Z")

    item = wire.parse_item(raw, V4)

    amounts = {"input": 2**62, "requests": 1}
    assert item == Item("email", "ada@example.com", amounts, "gpt-4o", "2025-12-15T12:00:00.123Z")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {"aiRequests": 1},
        {"email": "", "aiRequests": 1},
        {"email": 7, "aiRequests": 1},
        {"email": "ada@example.com"},
        raw_item(aiRequests=0),
        raw_item(aiRequests=-1),
        raw_item(aiRequests=1.0),
        raw_item(aiRequests=True),
        raw_item(aiRequests="1"),
        raw_item(aiRequests=2**63),
        raw_item(aiRequests=None),
        raw_item(model=""),
        raw_item(model="m" * 129),
        raw_item(model=None),
        raw_item(limitName="ai_usage"),
        raw_item(externalId="ext-ada"),
        raw_item(timestamp="2025-12-15T12:00:00Z"),
        raw_item(timestamp="2025-12-15T12:00:00.000+00:00"),
        raw_item(timestamp="2025-02-30T12:00:00.000Z"),
        raw_item(timestamp=1_700_000_000),
    ],
)
def test_an_item_that_breaks_the_contract_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.parse_item(raw, V4)


def test_the_older_form_has_one_limit_per_item() -> None:
    item = wire.parse_item({"externalId": "ext-ada", "limitName": "ai_output_tokens", "amount": 5}, OLD)

    assert item == Item("externalId", "ext-ada", {"output": 5})
    with pytest.raises(ValueError, match="limitName"):
        wire.parse_item({"externalId": "ext-ada", "limitName": "ai_usage", "amount": 5}, OLD)
    with pytest.raises(ValueError, match="shape"):
        wire.Forms("email", "round")


def test_limits_are_one_limit_of_three_metrics_for_the_calendar_month() -> None:
    told: Any = wire.limits(ADA, {"input": 5, "output": 0, "requests": 10_001}, V4, NOON)

    [limit] = told["limits"]
    assert limit["aiInputTokens"] == {"limit": 1_000_000, "used": 5, "remaining": 999_995}
    assert limit["aiRequests"]["remaining"] == -1
    assert limit["resetPeriod"] == "MONTHLY"
    assert (limit["periodStart"], limit["periodEnd"]) == ("2025-12-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z")


def test_an_unlimited_metric_is_null_or_in_the_older_form_absent() -> None:
    used = {"input": 5, "output": 5, "requests": 5}

    unified: Any = wire.limits(DORA, used, V4, NOON)
    older: Any = wire.limits(DORA, used, OLD, NOON)

    assert unified["limits"][0]["aiOutputTokens"] is None
    assert older["limits"] == []


def test_the_older_form_tells_three_limits() -> None:
    told: Any = wire.limits(ADA, {"input": 5, "output": 0, "requests": 0}, OLD, NOON)

    assert [limit["name"] for limit in told["limits"]] == ["ai_input_tokens", "ai_output_tokens", "ai_requests"]
    assert told["limits"][0]["used"] == 5
