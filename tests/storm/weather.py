"""What goes wrong: every fault that Zion's simulator knows, drawn at random, and which process dies next."""

from collections import Counter
from random import Random
from typing import Any

from tests.storm.stage import Stage
from tests.storm.usage import User

_BATCH: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "retry_after": 1},
    {"kind": "status", "status": 429, "retry_after": 1},
    {"kind": "status", "status": 400},
    {"kind": "status", "status": 413},
    {"kind": "status", "status": 401},
    {"kind": "delay", "seconds": 0.3},
    {"kind": "delay", "seconds": 2.0},  # longer than the time that a sender waits: applied after it has given up
    {"kind": "cut"},
    {"kind": "hang"},
    {"kind": "garbage", "status": 200},
    {"kind": "garbage", "status": 502},
    {"kind": "success_false"},
    {"kind": "fail_items"},
    {"kind": "shuffle"},
    {"kind": "drop_results", "count": 1},
    {"kind": "drop_results"},
    {"kind": "apply_then_cut"},
    {"kind": "apply_then_cut", "bytes": 150},
    {"kind": "apply_then_hang"},
    {"kind": "apply_then_status", "status": 502},
]
_LIMITS: list[dict[str, Any]] = [{"kind": "status", "status": 500}, {"kind": "cut"}, {"kind": "garbage", "status": 200}]


class Weather:
    """Faults and deaths of one storm, from one seed."""

    def __init__(self, stage: Stage, users: list[User], seed: int) -> None:
        self._stage, self._users, self._random = stage, users, Random(seed)
        self.faults: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()

    def strike(self) -> None:
        """One more fault for Zion; one in eight meets a question for limits."""
        on = "limits" if self._random.random() < 0.125 else "batch"
        fault = dict(self._random.choice(_LIMITS if on == "limits" else _BATCH), on=on)
        if fault["kind"] == "fail_items":
            fault["emails"] = [user.email for user in self._random.sample(self._users, 3)]
        self._stage.zion.tell("/_control/faults", fault)
        self.faults[f"{fault['kind']} {fault.get('status', '')}".strip()] += 1

    def kill(self) -> None:
        """SIGKILL to one of the workers, or beats."""
        victim = self._random.choice(self._stage.mortals)
        self._stage.kill(victim)
        self.kills[victim.name] += 1

    def clear(self) -> None:
        """Zion behaves again; who died is back."""
        self._stage.zion.clear("/_control/faults")
