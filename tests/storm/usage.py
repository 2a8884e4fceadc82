"""Usage of a storm: people with known limits, calls settled straight into Redis, and what they add up to."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import limits.snapshot
from limits import keys as limits_keys
from limits.snapshot import store_call
from sentinel import config
from sentinel.lib.redis import Script, ledger
from sentinel.zion.client import Zion
from tests.storm.stage import Stage
from usage.recorder import SETTLE, settle_call
from usage.values import Source, UsageEvent

METRICS = ("input", "output", "requests")
MODELS = ("gpt-4o", "gpt-4o-mini", "o3")
ROOM = 10**12
_STORE = Script(Path(limits.snapshot.__file__).parent / "lua" / "store.lua")
_AT_ONCE = 500
Sums = Counter[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom the simulator knows by these identities."""

    name: str

    @property
    def email(self) -> str:
        """The address that usage is reported under."""
        return f"{self.name}@example.com"


def make_users(stage: Stage, number: int) -> list[User]:
    """People with so much room that nothing is refused, and whose limits a gateway has fetched."""
    users = [User(f"storm{at}") for at in range(number)]
    stage.zion.tell("/_control/users", [{"name": user.name, "limits": dict.fromkeys(METRICS, ROOM)} for user in users])
    zion = Zion(config.get())
    for external_id in (f"ext-{user.name}" for user in users):
        assert _STORE.run(*store_call(external_id, "0", zion.fetch_limits(external_id))) == [1]
    return users


class Meter:
    """Settles calls, and adds them up as they are."""

    def __init__(self, users: list[User], seed: int) -> None:
        self._users, self._random = users, Random(seed)
        self.sums: Sums = Counter()
        self.calls = 0

    def settle(self, number: int, now_ms: int) -> None:
        """So many calls end now. Each was open, and holds nothing any more."""
        for start in range(0, number, _AT_ONCE):
            self._settle([self._event(now_ms) for _ in range(min(_AT_ONCE, number - start))])

    def _settle(self, events: list[UsageEvent]) -> None:
        quotas = " ".join(f"ai_usage.{metric}|%s|0" for metric in METRICS)
        ends = {event.external_id: _period_end(event.external_id) for event in events}
        SETTLE.run(*settle_call(events[0]))  # loads the script; without a call it only counts what is there below
        with ledger().pipeline(transaction=False) as pipeline:
            for event in events[1:]:
                end = ends[event.external_id]
                names, arguments = settle_call(event)
                pipeline.hset(names[1], mapping={"state": "open", "hold": quotas % (end, end, end)})
                pipeline.hincrby(limits_keys.user(event.external_id), "active", 1)
                pipeline.evalsha(SETTLE.sha, len(names), *names, *arguments)
            pipeline.execute()
        for event in events:
            for metric in METRICS:
                self.sums[event.external_id.removeprefix("ext-"), event.model, metric] += getattr(event, metric)
        self.calls += len(events)

    def _event(self, now_ms: int) -> UsageEvent:
        name = self._random.choice(self._users).name
        event = UsageEvent(
            call_id=f"{self._random.getrandbits(128):032x}",
            user_id=f"user-{name}",
            external_id=f"ext-{name}",
            email=f"{name}@example.com",
            model=self._random.choice(MODELS),
            endpoint="chat.completions",
            input=self._random.randint(1, 2000),
            output=self._random.randint(0, 800),
            requests=1,
            source=Source.PROVIDER,
            admitted_ms=now_ms,
        )
        return replace(event, request_id=event.call_id[:8])


def at_zion(stage: Stage) -> Sums:
    """What Zion has applied, per user, model and metric."""
    models = stage.zion.ask("/_control/ledger")["models"]
    return Counter(
        {
            (name, model, metric): amount
            for name, of_user in models.items()
            for model, of_model in of_user.items()
            for metric, amount in of_model.items()
            if amount
        }
    )


def _period_end(external_id: str) -> str:
    found = ledger().hget(limits_keys.user(external_id), "ai_usage.input:end")
    return (found or b"0").decode()  # type: ignore[union-attr]  # the synchronous client's answer
