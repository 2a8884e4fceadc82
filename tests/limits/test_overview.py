"""A caller's own limits, from the fields of their hash."""

from limits.overview import read

NOON_MS = 1_780_000_000_000
DAY_MS = 86_400_000


def fields(**changes: str) -> dict[str, str]:
    """A user with one daily quota that ends a minute after noon."""
    quota = {"limit": "100", "used": "10", "pending": "5", "held": "20", "end": str(NOON_MS + 60_000), "reset": "DAILY"}
    named = {f"ai_usage.input:{name}": value for name, value in {**quota, **changes}.items()}
    return {"quotas": "ai_usage.input", "fetched_at": "7", "active": "2", **named}


def test_what_is_used_unconfirmed_and_held_is_not_free() -> None:
    found = read(fields(), NOON_MS)

    (quota,) = found.quotas
    assert (quota.name, quota.metric, quota.limit, quota.free) == ("ai_usage", "input", 100, 65)
    assert (quota.used, quota.unconfirmed, quota.held, quota.resets_at_ms) == (10, 5, 20, NOON_MS + 60_000)
    assert (found.fetched_ms, found.open_calls, found.is_blocked, found.revoked_ms) == (7, 2, False, None)


def test_nobody_has_less_than_nothing_free() -> None:
    assert read(fields(used="500"), NOON_MS).quotas[0].free == 0


def test_a_period_that_is_over_counts_as_the_next_one() -> None:
    (quota,) = read(fields(), NOON_MS + 2 * DAY_MS).quotas

    assert (quota.used, quota.unconfirmed, quota.held, quota.free) == (0, 0, 0, 100)
    assert quota.resets_at_ms == NOON_MS + 60_000 + 2 * DAY_MS


def test_a_quota_without_a_period_never_resets() -> None:
    (quota,) = read(fields(end="0", reset=""), NOON_MS).quotas

    assert (quota.used, quota.resets_at_ms) == (10, None)


def test_a_user_of_whom_nothing_is_known() -> None:
    found = read({}, NOON_MS)

    assert (found.fetched_ms, found.quotas, found.open_calls) == (None, (), 0)
    assert read({"blocked": "why", "revoked_at": "5"}, NOON_MS).is_blocked
