"""Factories of admission, and a Zion in memory that is passed in where the real client would be."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from limits import keys
from limits.admission import Admission
from limits.snapshot import Snapshots, store_call
from limits.values import Ask, Grant, Principal
from sentinel import config
from sentinel.lib import redis
from sentinel.zion.schemas import Limit, Metric, ResetPeriod
from usage.values import Source, UsageEvent

FAR_MS = 4_102_444_800_000  # 2100-01-01
LATER_MS = 2**53 - 1  # a token that was validated after any revocation
METRICS: tuple[Metric, ...] = ("input", "output", "requests")


def configure(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """Change settings for the rest of the test."""
    for name, value in settings.items():
        monkeypatch.setenv(name.upper(), str(value))
    config.get.cache_clear()


def make_principal(user: str = "ada", *, validated_ms: int = LATER_MS) -> Principal:
    return Principal(f"user-{user}", f"ext-{user}", f"{user}@example.com", validated_ms, "0" * 64)


def make_ask(
    input: int = 10,
    *,
    choices: int = 1,
    cap: int | None = 100,
    generous: int = 16_384,
    requests: int = 1,
    floor: int = 1024,
) -> Ask:
    return Ask(input, choices, cap, generous, requests, floor)


def make_limit(
    metric: Metric = "output",
    limit: int | None = 1000,
    *,
    used: int = 0,
    name: str = "ai_usage",
    reset: ResetPeriod | None = "MONTHLY",
    end_ms: int = FAR_MS,
) -> Limit:
    return Limit(name, metric, limit, used, reset, None, end_ms)


def make_limits(input: int | None = 1000, output: int | None = 1000, requests: int | None = 100) -> tuple[Limit, ...]:
    figures = zip(METRICS, (input, output, requests), strict=True)
    return tuple(make_limit(metric, figure) for metric, figure in figures)


def make_draft(call_id: str, user: str = "ada") -> UsageEvent:
    return UsageEvent(
        call_id, f"user-{user}", f"ext-{user}", f"{user}@example.com", "gpt-4o", "chat.completions", 0, 0, 0,
        Source.REAPED, 0,
    )  # fmt: skip


class FakeZion:
    """Limits by external id; `meanwhile` runs while an answer is on its way, `failure` is raised instead of it."""

    def __init__(self, *limits: Limit, user: str = "ada") -> None:
        self.limits = {f"ext-{user}": limits}
        self.failure: Exception | None = None
        self.meanwhile: Callable[[], object] = lambda: None
        self.slow: asyncio.Event | None = None
        self.asked = 0

    async def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        self.asked += 1
        found = self.limits.get(external_id, ())
        self.meanwhile()
        if self.slow is not None:
            await self.slow.wait()
        if self.failure is not None:
            raise self.failure
        return found


def store(*limits: Limit, user: str = "ada", deliveries: int = 0) -> int:
    """Put a snapshot into the ledger; 0 when it was refused."""
    reply = redis.Script(STORE).run(*store_call(f"ext-{user}", deliveries, limits))
    return int(reply[0])


def make_admission(zion: FakeZion | None = None) -> Admission:
    return Admission(Snapshots(zion or FakeZion()))


async def admit(
    admission: Admission, ask: Ask | None = None, *, user: str = "ada", call_id: str = "", validated_ms: int = LATER_MS
) -> Grant:
    call_id = call_id or uuid4().hex
    principal = make_principal(user, validated_ms=validated_ms)
    draft = make_draft(call_id, user).to_json()
    return await admission.admit(principal, ask or make_ask(), call_id=call_id, event=draft, passable=0)


def state(user: str = "ada") -> dict[str, Any]:
    """The user's hash, numbers as integers."""
    found: dict[bytes, bytes] = redis.command("HGETALL", keys.user(f"ext-{user}"))
    return {k.decode(): int(v) if v.lstrip(b"-").isdigit() else v.decode() for k, v in found.items()}


def held(metric: str, user: str = "ada") -> int:
    return int(state(user).get(f"ai_usage.{metric}:held", 0))


def everything() -> dict[bytes, bytes]:
    """A dump of every key of this test, to see that nothing was written."""
    names: list[bytes] = redis.command("KEYS", f"{config.get().redis_key_prefix}*")
    return {name: redis.command("DUMP", name) for name in sorted(names)}


async def loop_turns(number: int) -> None:
    """Let the loop turn this often."""
    for _ in range(number):
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn


def redis_now_ms() -> int:
    seconds, micros = redis.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


STORE = config.BASE_DIR / "limits" / "lua" / "store.lua"
