"""The only sources of time. Windows, leases and breakers use Redis' time instead."""

import time


def now_ms() -> int:
    """Wall clock, UTC, milliseconds: for timestamps and token expiry only."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Seconds that never go backwards: for durations and deadlines."""
    return time.monotonic()
