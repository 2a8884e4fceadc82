"""A healthy ledger made by the product's own scripts, and Zion's books, for tests that add ledgers up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limits import keys as limits_keys
from limits.snapshot import store_call
from sentinel.lib.clock import now_ms
from sentinel.lib.redis import Script
from sentinel.zion.schemas import Limit, ZionUnknownUser
from tests.usage.make import SHARD, make_event
from usage.recorder import SETTLE, settle_call
from usage.values import UsageEvent

_LUA = Path(limits_keys.__file__).parent / "lua"
_ADMIT, _STORE = Script(_LUA / "admit.lua"), Script(_LUA / "store.lua")
METRICS = ("input", "output", "requests")


class Books:
    """What Zion says about its users, as its synchronous client would."""

    def __init__(self) -> None:
        self.used: dict[str, dict[str, int]] = {}

    def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        """A million of everything, without a period."""
        if external_id not in self.used:
            raise ZionUnknownUser
        return limits_of(self.used[external_id])

    def know(self, external_id: str, **used: int) -> None:
        """This user is known, and has used so much; so does the ledger know."""
        self.used[external_id] = {**dict.fromkeys(METRICS, 0), **used}
        _STORE.run(*store_call(external_id, "0", limits_of(self.used[external_id])))

    def add(self, *events: UsageEvent) -> None:
        """Book these events."""
        for event in events:
            for metric in METRICS:
                self.used[event.external_id][metric] += getattr(event, metric)


def limits_of(used: dict[str, int]) -> tuple[Limit, ...]:
    """Zion's one limit."""
    return tuple(Limit("ai_usage", metric, 10**6, used[metric], "NEVER", None, None) for metric in METRICS)  # type: ignore[arg-type]  # literals


def admit(event: UsageEvent) -> None:
    """Reserve 100 input and 50 output tokens for this call."""
    user, shard = event.external_id, SHARD
    names = [
        limits_keys.user(user),
        limits_keys.rate(user),
        limits_keys.call(shard, event.call_id),
        limits_keys.leases(shard),
        limits_keys.waiting(user),
        limits_keys.waiting_seen(user),
    ]
    limits: Sequence[Any] = (1000, 60_000, 1000, 90_000, "hard", 100, 1, 50, 50, 1, 16, 16, 1)
    args = [event.call_id, user, 2**50, *limits, 10**9, 0, 10**9, event.to_json(), 0, 0, 0, 0, 2**50]
    reply = _ADMIT.run(names, args)
    assert reply[0] == b"admitted", reply


def settle(event: UsageEvent) -> None:
    """Settle a call, admitted or not."""
    SETTLE.run(*settle_call(event))


def call(user: str = "ada", **changes: Any) -> UsageEvent:
    """One call, admitted and settled."""
    event = make_event(user, **{"admitted_ms": now_ms(), **changes})
    admit(event)
    settle(event)
    return event
