"""Factories of delivery, and a Zion in memory that is passed in where the real client would be."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import orjson

import limits.snapshot
from limits.snapshot import store_call
from sentinel import config
from sentinel.lib.redis import Script, ledger
from sentinel.zion.schemas import (
    Delivery,
    Endpoint,
    Increment,
    ItemOutcome,
    Limit,
    Metric,
    Verdict,
    ZionUnavailable,
    ZionUnknownUser,
)
from usage import keys
from usage.aggregate import Entry
from usage.batch import Batch, Doubt, Form, Member, State
from usage.send import Terms, terms_of
from usage.values import Source, UsageEvent

_STORE = Script(Path(limits.snapshot.__file__).parent / "lua" / "store.lua")
SHARD = 0
NOON_MS = 1_780_000_000_000
FORM = Form("email", "unified")
METRICS: tuple[Metric, ...] = ("input", "output", "requests")
FIELDS = {"input": "aiInputTokens", "output": "aiOutputTokens", "requests": "aiRequests"}


def make_event(user: str = "ada", **changes: Any) -> UsageEvent:
    """One settled call of a member of the cast."""
    event = UsageEvent(
        call_id=uuid4().hex,
        user_id=f"user-{user}",
        external_id=f"ext-{user}",
        email=f"{user}@example.com",
        model="gpt-4o",
        endpoint="chat.completions",
        input=10,
        output=5,
        requests=1,
        source=Source.PROVIDER,
        admitted_ms=NOON_MS,
    )
    return replace(event, **changes)


def charges_for(event: UsageEvent, period_ms: int = 0) -> str:
    """What settle would have raised `pending` by."""
    amounts = {"input": event.input, "output": event.output, "requests": event.requests}
    return " ".join(f"ai_usage.{metric}|{period_ms}|{amount}" for metric, amount in amounts.items() if amount)


def make_entry(event: UsageEvent, entry_id: str = "1-1", charges: str = "") -> Entry:
    """The event as it would be read from the stream."""
    return Entry(entry_id, event.call_id, event.to_json(), charges)


def settle(event: UsageEvent, period_ms: int = 0) -> str:
    """Put an event where settle puts it, and raise `pending` as it does. The stream entry's id."""
    charges, user = charges_for(event, period_ms), user_key(event.external_id)
    for charge in charges.split():
        quota, _, amount = charge.split("|")
        ledger().hincrby(user, f"{quota}:pending", int(amount))
        ledger().hset(user, f"{quota}:end", period_ms)
    entry_id: Any = ledger().xadd(keys.stream(SHARD), {"c": event.call_id, "e": event.to_json(), "q": charges})
    return str(entry_id.decode())


def user_key(external_id: str) -> str:
    """The hash of a user in the shard of the tests."""
    return f"{config.get().redis_key_prefix}{{s00}}:user:{external_id}"


def quota(external_id: str, metric: str) -> dict[str, int]:
    """`used` and `pending` of one metric."""
    found: Any = ledger().hgetall(user_key(external_id))
    return {name: int(found.get(f"ai_usage.{metric}:{name}".encode(), 0)) for name in ("used", "pending")}


def snapshot(zion: "FakeZion", *users: str) -> None:
    """Store these users' limits as Zion has them now, as a gateway does."""
    for external_id in (f"ext-{user}" for user in users):
        deliveries: Any = ledger().hget(user_key(external_id), "deliveries") or b"0"
        assert _STORE.run(*store_call(external_id, deliveries, zion.fetch_limits(external_id))) == [1]


def make_terms(*, honours_keys: bool = True, lanes: int = 4, quiet_ms: int = 0) -> Terms:
    """The default terms, with a rate that does not slow tests down, and a Zion that is quiet at once."""
    terms = terms_of(config.get())
    policy = replace(terms.policy, honours_keys=honours_keys, quiet_ms=quiet_ms)
    return replace(terms, policy=policy, permits=replace(terms.permits, per_second=10_000), lanes=lanes)


def make_due() -> None:
    """Let time pass for every batch: backoff and leases are over."""
    batch_ids: Any = ledger().zrange(keys.batches(SHARD), 0, -1)
    for batch_id in batch_ids:
        ledger().zadd(keys.batches(SHARD), {batch_id: 0})


def increment(user: str = "ada", **changes: Any) -> Increment:
    """One item."""
    made = Increment(f"user-{user}", f"ext-{user}", f"{user}@example.com", "gpt-4o", 10, 5, 1, NOON_MS)
    return replace(made, **changes)


def make_batch(*items: Increment, **changes: Any) -> Batch:
    """A claimed batch with one member per item, on its first attempt."""
    chosen = items or (increment(),)
    members = tuple(
        Member(f"{at}-1", f"call-{at}", at, b"{}", f"ai_usage.input|0|{item.input} ai_usage.output|0|{item.output}")
        for at, item in enumerate(chosen)
    )
    batch = Batch(
        id="b1",
        body=FORM.body(chosen, "batch"),
        key="b1",
        endpoint="batch",
        identities=FORM.identities(chosen),
        items=chosen,
        members=members,
        state=State.SENDING,
        tries=1,
        rejections=0,
        died=0,
        created_ms=NOON_MS,
        now_ms=NOON_MS,
        doubt=Doubt(),
        reason="",
        origin="",
    )
    return replace(batch, **changes)


class Killed(BaseException):
    """The worker dies here: nothing after this line runs."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one request: is it applied, what is answered (None: the truth), does its sender die."""

    applies: bool = True
    answer: Delivery | None = None
    kills: bool = False


UNCLEAR = Delivery(Verdict.AMBIGUOUS, "timeout", trips_breaker=True)
REFUSED = Delivery(Verdict.NOT_APPLIED, "connection refused", trips_breaker=True)
REJECTED = Delivery(Verdict.REJECTED, "status 400", status=400)


class FakeZion:
    """Books what it is sent by address and metric, once per key if told so, and follows a script of steps."""

    def __init__(self, *steps: Step, unknown: Sequence[str] = (), honours_keys: bool = True) -> None:
        self.honours_keys = honours_keys
        self.steps = deque(steps)
        self.unknown = set(unknown)
        self.failures: deque[ZionUnavailable] = deque()  # what the next questions for limits end in
        self.booked: Counter[tuple[str, str]] = Counter()
        self.bodies: dict[str, set[bytes]] = {}
        self.sent: list[tuple[str, str, bytes]] = []
        self.arrived: Counter[str] = Counter()
        self._answers: dict[str, Delivery] = {}
        self._lock = Lock()

    def report(self, endpoint: Endpoint, body: bytes, key: str, identities: Sequence[str]) -> Delivery:
        """As Zion's clients do, but it can kill its caller."""
        with self._lock:
            step = self.steps.popleft() if self.steps else Step()
            self.sent.append((endpoint, key, body))
            self.bodies.setdefault(key, set()).add(body)
            self.arrived[key] += step.answer is None or step.answer.verdict is not Verdict.NOT_APPLIED
            truth = self._apply(body, key) if step.applies else None
            if step.kills:
                raise Killed
            return step.answer or truth or UNCLEAR

    def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        """A user's three metrics, all limited, without a period."""
        with self._lock:
            if self.failures:
                raise self.failures.popleft()
            email = f"{external_id.removeprefix('ext-')}@example.com"
            if email in self.unknown:
                raise ZionUnknownUser
            return tuple(
                Limit("ai_usage", metric, 10**9, self.booked[email, metric], None, None, None) for metric in METRICS
            )

    def total(self, metric: str) -> int:
        """All that was booked of a metric."""
        return sum(amount for (_, name), amount in self.booked.items() if name == metric)

    def _apply(self, body: bytes, key: str) -> Delivery:
        if self.honours_keys and key in self._answers:
            return self._answers[key]
        parsed = orjson.loads(body)
        items = parsed.get("increments", [parsed])
        self._answers[key] = Delivery(Verdict.APPLIED, "", tuple(self._book(item) for item in items), status=200)
        return self._answers[key]

    def _book(self, item: dict[str, Any]) -> ItemOutcome:
        email = item["email"]
        if email in self.unknown:
            return ItemOutcome(Verdict.REJECTED, "user not found", {})
        for metric, field in FIELDS.items():
            self.booked[email, metric] += item.get(field, 0)
        return ItemOutcome(Verdict.APPLIED, "", {metric: self.booked[email, metric] for metric in FIELDS})


class AsyncFakeZion(FakeZion):
    """The same for the request path."""

    async def report(  # type: ignore[override]
        self, endpoint: Endpoint, body: bytes, key: str, identities: Sequence[str], timeout_seconds: float | None = None
    ) -> Delivery:
        return super().report(endpoint, body, key, identities)
