"""Factories of Zion's values and replies, with Ada as the default."""

from collections.abc import Mapping

import orjson

from sentinel.zion.schemas import Increment

NO_HEADERS: Mapping[str, str] = {}


def make_increment(
    who: str = "ada", *, model: str = "gpt-4o", input: int = 12, output: int = 34, requests: int = 1
) -> Increment:
    return Increment(
        user_id=f"user-{who}",
        external_id=f"ext-{who}",
        email=f"{who}@example.com",
        model=model,
        input=input,
        output=output,
        requests=requests,
        timestamp_ms=1_772_600_645_678,
    )


def make_body(fields: object, *, success: object = True) -> bytes:
    return orjson.dumps({"success": success, "data": fields})


def make_profile_body(**changes: object) -> bytes:
    fields = {"id": "user-ada", "email": "ada@example.com", "externalId": "ext-ada", "emailVerified": True}
    return make_body(fields | changes)


def make_metric(limit: object = 1000, used: object = 10) -> dict[str, object]:
    return {"limit": limit, "used": used, "remaining": 0}


def make_limit(**changes: object) -> dict[str, object]:
    return {
        "name": "ai_usage",
        "displayName": "AI usage",
        "aiInputTokens": make_metric(1000, 10),
        "aiOutputTokens": make_metric(2000, 20),
        "aiRequests": make_metric(30, 3),
        "resetPeriod": "MONTHLY",
        "periodStart": "2026-03-01T00:00:00.000Z",
        "periodEnd": "2026-04-01T00:00:00.000Z",
    } | changes


def make_limits_body(*limits: object) -> bytes:
    return make_body({"userId": "user-ada", "externalId": "ext-ada", "limits": list(limits)})


def make_result(who: str = "ada", **changes: object) -> dict[str, object]:
    return {
        "email": f"{who}@example.com",
        "limitName": "ai_usage",
        "success": True,
        "aiInputTokens": {"newValue": 112, "limit": 1000},
        "aiOutputTokens": {"newValue": 234, "limit": 1000},
    } | changes


def make_batch_body(*results: object, processed: object = None, failed: object = 0) -> bytes:
    count = len(results) if processed is None else processed
    return make_body({"processed": count, "failed": failed, "results": list(results)})
