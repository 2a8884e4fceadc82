"""The ledger as a whole against a model: any order of admits, settles, releases, reaps, replays, deliveries and
refreshes, by several workers, keeps every quota, counts every call once, and gives every hold back."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from limits import keys
from limits.admission import Admission, release
from limits.snapshot import Snapshots
from limits.values import Ask, Grant
from sentinel import config
from sentinel.exceptions import CallError, QuotaExceeded, QuotaStoreUnavailable, RateLimitExceeded
from sentinel.lib import background
from sentinel.lib import redis as connections
from sentinel.zion.schemas import Limit
from tests.limits.conftest import _forget
from tests.limits.make import FAR_MS, METRICS, make_ask, make_draft, make_principal, state
from tests.redis_server import private_server
from usage import keys as usage_keys
from usage.journal import Journal
from usage.reaper import reap
from usage.recorder import Recorder, _events
from usage.values import Source

USERS = ("ada", "ben", "eli")
CONCURRENT = 8
LEAST = 16
MONTH_MS = 30 * 86_400_000
ROLL = connections.Script(config.BASE_DIR / "limits" / "lua" / "roll.lua")
RESOLVE = connections.Script(config.BASE_DIR / "usage" / "lua" / "resolve.lua")
SMALL = st.integers(0, 400)


@dataclass
class Figures:
    """What the model knows of one quota in its present period."""

    limit: int
    period: int = FAR_MS
    counted: int = 0  # all that was settled or used elsewhere
    at_zion: int = 0  # of it, what Zion knows
    slack: int = 0  # how far above the limit it may stand: a limit was lowered, or more was served than held


@dataclass
class Known:
    """One call: what it holds in which period, and what was recorded for it."""

    user: str
    grant: Grant
    ask: Ask
    period: int
    status: str = "open"
    recorded: tuple[int, int, int] = (0, 0, 0)
    events: Counter[str] = field(default_factory=Counter)

    @property
    def hold(self) -> tuple[int, int, int]:
        return self.grant.held_input, self.grant.held_output, self.ask.requests


class Ledger(RuleBasedStateMachine):
    """Drives the real scripts through the real classes, and the model beside them."""

    folder: Path
    steps = 0  # of all examples together

    def __init__(self) -> None:
        super().__init__()
        self.run = asyncio.Runner()
        self.tag = uuid4().hex[:8]
        self.names = [f"{user}-{self.tag}" for user in USERS]
        self.quotas: dict[tuple[str, str], Figures] = {}
        self.calls: dict[str, Known] = {}
        self.events: Counter[str] = Counter()
        self.undelivered: list[tuple[str, str, int, int]] = []  # user, metric, period, amount
        self.deliver_meanwhile = False
        self.admission = Admission(Snapshots(self))
        self.journals: list[Journal] = []
        self.workers = [Recorder(self._journal(n)) for n in range(2)]
        self.opened: list[str] = []

    def _journal(self, number: int) -> Journal:
        journal = Journal(self.folder / self.tag, 60)
        journal.open()
        self.journals[number:] = [journal, *self.journals[number + 1 :]]
        return journal

    # --- Zion, as Snapshots sees it

    async def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        user = external_id.removeprefix("ext-")
        found = tuple(
            Limit("ai_usage", metric, self.quotas[user, metric].limit, self.quotas[user, metric].at_zion, "MONTHLY",
                  None, self.quotas[user, metric].period)
            for metric in METRICS
        )  # fmt: skip
        if self.deliver_meanwhile:
            self.deliver_meanwhile = False
            self._deliver()
        return found

    # --- rules

    @initialize(limits=st.lists(st.integers(100, 2000), min_size=9, max_size=9))
    def begin(self, limits: list[int]) -> None:
        for position, (user, metric) in enumerate((u, m) for u in self.names for m in METRICS):
            limit = limits[position] if metric != "requests" else 3 + limits[position] % 20
            self.quotas[user, metric] = Figures(limit)
        for user in self.names:
            self._refresh(user)

    @rule(user=st.integers(0, 2), input=SMALL, cap=st.none() | SMALL.map(lambda n: n + 1), choices=st.integers(1, 3))
    def admit(self, user: int, input: int, cap: int | None, choices: int) -> None:
        self._admit(self.names[user], make_ask(input, cap=cap, choices=choices, generous=500))

    @rule(user=st.integers(0, 2), many=st.integers(2, 6), cap=st.none() | SMALL.map(lambda n: n + 1))
    def admit_at_once(self, user: int, many: int, cap: int | None) -> None:
        name, ask = self.names[user], make_ask(20, cap=cap, generous=500)
        free = {metric: self._free(name, metric) for metric in METRICS}

        async def race() -> list[Grant | BaseException]:
            asks = [self._ask(name, ask) for _ in range(many)]
            return await asyncio.gather(*asks, return_exceptions=True)

        grants = [found for found in self.run.run(race()) if not isinstance(found, BaseException)]
        for grant in grants:
            self._keep(name, ask, grant)
        for position, metric in enumerate(METRICS):
            taken = sum(self.calls[grant.call_id].hold[position] for grant in grants)
            assert taken <= max(free[metric], 0)

    @rule(user=st.integers(0, 2))
    def list_models(self, user: int) -> None:
        self._admit(self.names[user], Ask(0, 0, None, 0, requests=0))

    @rule(user=st.integers(0, 2))
    def admit_late_after_it_was_given_up(self, user: int) -> None:
        name, call_id = self.names[user], uuid4().hex
        marker = Grant(call_id, 0, f"ext-{name}", 0, None, 0, 0, None)  # type: ignore[arg-type]  # not looked at
        self.run.run(release(marker))
        with pytest.raises(QuotaStoreUnavailable):
            self.run.run(self._ask(name, make_ask(), call_id))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), worker=st.integers(0, 1), times=st.integers(1, 3))
    def settle_within_its_hold(self, data: st.DataObject, worker: int, times: int) -> None:
        call = self._pick(data)
        actual = tuple(data.draw(st.integers(0, hold)) for hold in call.hold)
        self._settle(call, actual, worker, times)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), more=st.tuples(SMALL, SMALL))
    def settle_beyond_its_hold(self, data: st.DataObject, more: tuple[int, int]) -> None:
        call = self._pick(data)
        self._settle(call, (call.hold[0] + more[0], call.hold[1] + more[1], call.hold[2]), 0, 1)

    @precondition(lambda self: any(call.status == "open" for call in self.calls.values()))
    @rule(data=st.data())
    def release_one(self, data: st.DataObject) -> None:
        call = self._pick(data, "open")
        self.run.run(release(call.grant))
        self.run.run(release(call.grant))
        call.status = "released"

    @precondition(lambda self: any(call.status in {"settled", "reaped"} for call in self.calls.values()))
    @rule(data=st.data())
    def release_late(self, data: st.DataObject) -> None:
        ended = [call for call in self.calls.values() if call.status in {"settled", "reaped"}]
        self.run.run(release(data.draw(st.sampled_from(ended)).grant))

    @precondition(lambda self: any(call.status == "open" for call in self.calls.values()))
    @rule(data=st.data(), received=SMALL, both=st.booleans())
    def a_worker_dies(self, data: st.DataObject, received: int, both: bool) -> None:
        chosen = [self._pick(data, "open"), *([self._pick(data, "open")] if both else [])]
        calls = {call.grant.call_id: call for call in chosen}
        for call_id, call in calls.items():
            shard = keys.shard_of(f"ext-{call.user}")
            connections.command("HSET", keys.call(shard, call_id), "received", received)
            connections.command("ZADD", keys.leases(shard), "XX", 1, call_id)
        for shard in range(config.get().usage_shards):
            reap(shard)
        for call in calls.values():
            actual = (call.hold[0], min(received, call.hold[1]), call.hold[2])
            self._count(call, actual)
            call.status, call.recorded = "reaped", actual
            self.events[call.grant.call_id] += 1

    @rule()
    def reap_while_all_live(self) -> None:
        assert sum(reap(shard) for shard in range(config.get().usage_shards)) == 0

    @rule()
    def confirm_delivery(self) -> None:
        self._deliver()

    @rule(user=st.integers(0, 2), overtaken=st.booleans())
    def refresh(self, user: int, overtaken: bool) -> None:
        self.deliver_meanwhile = overtaken
        self._refresh(self.names[user])
        self.deliver_meanwhile = False

    @rule(user=st.integers(0, 2), metric=st.sampled_from(METRICS), limit=st.integers(1, 2500))
    def zion_changes_a_limit(self, user: int, metric: str, limit: int) -> None:
        name = self.names[user]
        self.quotas[name, metric].limit = limit
        self._refresh(name)

    @rule(user=st.integers(0, 2), metric=st.sampled_from(METRICS), amount=st.integers(1, 50))
    def somebody_else_reports_there(self, user: int, metric: str, amount: int) -> None:
        name, quota = self.names[user], self.quotas[self.names[user], metric]
        quota.at_zion += amount
        quota.counted += amount
        self._refresh(name)

    @rule(user=st.integers(0, 2), by_zion=st.booleans())
    def the_period_ends(self, user: int, by_zion: bool) -> None:
        name = self.names[user]
        for metric in METRICS:
            quota = self.quotas[name, metric]
            ended = quota.period
            self.quotas[name, metric] = Figures(quota.limit, ended + MONTH_MS)
            if by_zion:  # its end has come, and Zion is asked before anybody calls
                connections.command("HSET", keys.user(f"ext-{name}"), f"ai_usage.{metric}:end", 1)
            else:
                args = [f"ai_usage.{metric}", ended, ended + MONTH_MS]
                assert ROLL.run([keys.user(f"ext-{name}")], args) == [1]
                assert ROLL.run([keys.user(f"ext-{name}")], args) == [0]
        self._refresh(name)

    @rule()
    def redis_forgets_its_scripts(self) -> None:
        connections.command("SCRIPT", "FLUSH")

    @rule(worker=st.integers(0, 1))
    def a_worker_replays_all_that_its_journal_has(self, worker: int) -> None:
        self.run.run(self.workers[worker]._replay_own(list(_events(self.journals[worker].records()))))

    @rule(worker=st.integers(0, 1))
    def a_worker_dies_and_another_replays_its_journal(self, worker: int) -> None:
        self.journals[worker].close()
        self.workers[worker] = Recorder(self._journal(worker))
        self.run.run(self.workers[1 - worker].adopt_orphans())

    # --- what holds after every step

    @invariant()
    def one_more_step_is_done(self) -> None:
        type(self).steps += bool(self.quotas)  # not before the first

    @invariant()
    def the_ledger_agrees_with_the_model(self) -> None:
        for user in {user for user, _ in self.quotas}:
            found = state(user)
            live = [call for call in self.calls.values() if call.user == user and call.status == "open"]
            assert found.get("active", 0) == len(live)
            for position, metric in enumerate(METRICS):
                quota = self.quotas[user, metric]
                here = {part: found[f"ai_usage.{metric}:{part}"] for part in ("limit", "used", "pending", "held")}
                holds = sum(call.hold[position] for call in live if call.period == quota.period)
                assert here["held"] == holds
                assert here["used"] + here["pending"] == quota.counted
                assert here["pending"] >= 0
                excess = here["used"] + here["pending"] + here["held"] - here["limit"]
                assert excess <= quota.slack
                quota.slack = max(excess, 0)

    @invariant()
    def every_settled_call_has_its_one_event(self) -> None:
        found: Counter[str] = Counter()
        for shard in range(config.get().usage_shards):
            for _, entry in connections.command("XRANGE", usage_keys.stream(shard), "-", "+"):
                fields = dict(zip(entry[::2], entry[1::2], strict=True)) if isinstance(entry, list) else entry
                assert fields[b"r"] == b"0"
                found[orjson.loads(fields[b"e"])["call_id"]] += 1
        mine = Counter({call_id: n for call_id, n in found.items() if call_id.partition("#")[0] in self.calls})
        assert mine == self.events
        assert all(n == 1 for n in mine.values())

    def teardown(self) -> None:
        for call in [call for call in self.calls.values() if call.status == "open"]:
            self._settle(call, (1, 1, 1), 1, 1)
        for user in {user for user, _ in self.quotas}:
            found = state(user)
            assert found.get("active", 0) == 0
            assert [found[f"ai_usage.{metric}:held"] for metric in METRICS] == [0, 0, 0]
        self.run.run(_close())
        self.run.close()
        for journal in self.journals:
            journal.close()

    # --- means

    def _pick(self, data: st.DataObject, status: str = "") -> Known:
        chosen = [call for call in self.calls.values() if status in {"", call.status}]
        return data.draw(st.sampled_from(chosen))

    def _held(self, user: str, metric: str) -> int:
        quota, position = self.quotas[user, metric], METRICS.index(metric)
        calls = self.calls.values()
        live = [call for call in calls if call.user == user and call.status == "open" and call.period == quota.period]
        return sum(call.hold[position] for call in live)

    def _free(self, user: str, metric: str) -> int:
        quota = self.quotas[user, metric]
        return quota.limit - quota.counted - self._held(user, metric)

    async def _ask(self, user: str, ask: Ask, call_id: str = "") -> Grant:
        call_id = call_id or uuid4().hex
        draft = make_draft(call_id, user).to_json()
        return await self.admission.admit(make_principal(user), ask, call_id=call_id, event=draft)

    def _admit(self, user: str, ask: Ask) -> None:
        expected = self._expected(user, ask)
        try:
            grant = self.run.run(self._ask(user, ask))
        except CallError as error:
            refused = type(error)
            assert refused is expected
            return
        assert (grant.held_input, grant.held_output) == (ask.input, expected)
        self._keep(user, ask, grant)

    def _expected(self, user: str, ask: Ask) -> Any:
        """The output that admission must hold, or the error that it must raise."""
        if sum(call.user == user and call.status == "open" for call in self.calls.values()) >= CONCURRENT:
            return RateLimitExceeded
        quota, free = self.quotas[user, "output"], self._free(user, "output")
        output = 0
        if ask.choices:
            most = max((quota.limit - quota.counted) // ask.choices, LEAST)
            if ask.cap is not None:
                granted = min(ask.cap, most)
            else:
                part = free if not self._held(user, "output") else max(free / 16, ask.floor * ask.choices)
                granted = max(min(int(part // ask.choices), ask.generous, most), LEAST)
            output = granted * ask.choices
        wanted = dict(zip(METRICS, (ask.input, output, ask.requests), strict=True))
        fits = all(self._free(user, metric) >= amount for metric, amount in wanted.items() if amount)
        return output if fits else QuotaExceeded

    def _keep(self, user: str, ask: Ask, grant: Grant) -> None:
        assert grant.call_id not in self.calls
        self.calls[grant.call_id] = Known(user, grant, ask, self.quotas[user, "input"].period)

    def _settle(self, call: Known, actual: tuple[int, ...], worker: int, times: int) -> None:
        event = replace(
            make_draft(call.grant.call_id, call.user),
            input=actual[0],
            output=actual[1],
            requests=actual[2],
            source=Source.PROVIDER,
            admitted_ms=call.grant.admitted_ms,
        )

        async def settle() -> list[str]:
            workers = [self.workers[(worker + n) % 2] for n in range(times)]
            receipts = await asyncio.gather(*(recorder.settle(event) for recorder in workers))
            return [receipt.status for receipt in receipts]

        first = {"open": "settled", "reaped": "corrected"}.get(call.status, "duplicate")
        assert self.run.run(settle()) == [first, *["duplicate"] * (times - 1)]
        if call.status == "open":
            self._count(call, actual)
            self.events[call.grant.call_id] += 1
        elif call.status == "reaped":
            more = tuple(max(now - then, 0) for now, then in zip(actual, call.recorded, strict=True))
            self._count(call, more, correction=True)
            if any(more):
                self.events[f"{call.grant.call_id}#1"] += 1
        if call.status != "released":
            call.status, call.recorded = "settled", (actual[0], actual[1], actual[2])

    def _count(self, call: Known, actual: tuple[int, ...], *, correction: bool = False) -> None:
        for position, metric in enumerate(METRICS):
            quota = self.quotas[call.user, metric]
            if call.period == quota.period:
                quota.counted += actual[position]
                hold = 0 if correction else call.hold[position]
                quota.slack += max(actual[position] - hold, 0)
            if actual[position]:
                self.undelivered.append((call.user, metric, call.period, actual[position]))

    def _refresh(self, user: str) -> None:
        self.run.run(self.admission._snapshots.refresh(f"ext-{user}"))
        for metric in METRICS:
            quota = self.quotas[user, metric]
            quota.slack = max(quota.slack, -self._free(user, metric))

    def _deliver(self) -> None:
        """All that waits reaches Zion and is confirmed, one batch per shard."""
        for shard in range(config.get().usage_shards):
            entries = connections.command("XRANGE", usage_keys.stream(shard), "-", "+")
            charges: dict[str, list[list[str]]] = {}
            for entry_id, entry in entries:
                fields = dict(zip(entry[::2], entry[1::2], strict=True)) if isinstance(entry, list) else entry
                event = orjson.loads(fields[b"e"])
                if not event["external_id"].endswith(self.tag):
                    continue
                for charge in fields[b"q"].decode().split():
                    charges.setdefault(event["external_id"], []).append([*charge.split("|"), ""])
                self._seen(entry_id, event["call_id"], shard)
            if charges:
                self._resolve(shard, charges)
        for user, metric, period, amount in self.undelivered:
            if self.quotas[user, metric].period == period:
                self.quotas[user, metric].at_zion += amount
        self.undelivered.clear()

    def _seen(self, entry_id: bytes, call_id: str, shard: int) -> None:
        """Sealed: it leaves the stream, and the model stops expecting it there."""
        connections.command("XDEL", usage_keys.stream(shard), entry_id)
        self.events[call_id] -= 1
        del self.events[call_id]

    def _resolve(self, shard: int, charges: dict[str, list[list[str]]]) -> None:
        batch = usage_keys.batch(shard, "b")
        connections.command("HSET", batch, "state", "sending", "tries", "1")
        doc = {
            "id": "b", "expect": ["sending"], "try": "1", "to": "gone", "delay": "0", "fields": {}, "children": [],
            "sole": "1",
            "users": [{"credits": found, "held": [], "aside": [], "figures": []} for found in charges.values()],
        }  # fmt: skip
        places = [f(shard) for f in (usage_keys.batches, usage_keys.delivered, usage_keys.held, usage_keys.dead)]
        users = [keys.user(external_id) for external_id in charges]
        args = [orjson.dumps(doc)]
        assert RESOLVE.run([batch, *places, *users], args) == [1]


async def _close() -> None:
    for task in background.running():
        if task.get_loop() is asyncio.get_running_loop():
            task.cancel()
    await connections.close()


MANY = settings(
    max_examples=75,
    stateful_step_count=50,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],  # to find the smallest failure takes minutes: add Phase.shrink by hand
)


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room in the rate window; a small number of calls at once; more than one shard."""
    for name, value in {
        "RATE_LIMIT_REQUESTS": 100_000,
        "MAX_CONCURRENT_CALLS_PER_USER": CONCURRENT,
        "USAGE_SHARDS": 2,
        "LIMITS_WHEN_EMPTY": "refuse",
    }.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.timeout(180)  # for so many steps on busy cores
@pytest.mark.usefixtures("rules")
def test_quotas_hold_and_every_call_is_counted_once_in_any_order_of_events(ledger: redis.Redis, tmp_path: Path) -> None:
    config.get.cache_clear()

    class Here(Ledger):
        folder = tmp_path

    run_machine(Here, settings=MANY)

    assert Here.steps >= 2000


@pytest.mark.usefixtures("rules")
def test_the_ledger_survives_restarts_of_redis_in_any_order_of_events(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with private_server("--appendfsync", "always") as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        monkeypatch.setenv("QUOTA_WAIT_SECONDS", "0")
        monkeypatch.setenv("REDIS_TIMEOUT_SECONDS", "5")
        _forget()

        class Restarting(Ledger):
            folder = tmp_path

            @rule()
            def redis_crashes_and_comes_back(self) -> None:
                self.run.run(connections.close())
                server.kill()
                connections.ledger().connection_pool.disconnect()
                server.start()

        run_machine(Restarting, settings=settings(MANY, max_examples=6, stateful_step_count=40))
        connections.ledger().close()
        _forget()
