"""Faults that a simulator is told to play: a queue of instructions, each for some requests or for all that follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

ENDPOINTS = frozenset({"*", "users/me", "limits", "increment", "batch"})
KINDS = frozenset(
    {
        "delay",
        "status",
        "fail_items",
        "apply_then_cut",
        "apply_then_hang",
        "apply_then_status",
        "cut",
        "garbage",
        "hang",
        "success_false",
        "shuffle",
        "drop_results",
    }
)
HTML = "<!doctype html><title>Gateway</title><h1>It is not what you expected</h1>"


@dataclass(frozen=True, slots=True)
class Fault:
    """One instruction.

    on: which endpoint, `*` for all. times: how many requests it meets, None for all until it is deleted.
    seconds: a wait before anything else, with any kind. status, retry_after: of `status`, `apply_then_status` and
    `garbage`. emails: identities of `fail_items`. bytes: how much of the HTTP answer `apply_then_cut` still sends.
    count: how many results `drop_results` leaves out, None for all. body: what `garbage` says.
    """

    kind: str
    on: str = "*"
    times: int | None = 1
    seconds: float = 0.0
    status: int | None = None
    retry_after: int | None = None
    emails: frozenset[str] = field(default_factory=frozenset)
    bytes: int = 0
    count: int | None = None
    body: str = HTML

    def meets(self, endpoint: str) -> bool:
        """Whether it is about that endpoint."""
        return self.on in {"*", endpoint}


NO_FAULT = Fault(kind="delay")


_TYPES: dict[str, tuple[type, ...]] = {
    "times": (int, type(None)),
    "seconds": (int, float),
    "status": (int, type(None)),
    "retry_after": (int, type(None)),
    "emails": (list,),
    "bytes": (int,),
    "count": (int, type(None)),
    "body": (str,),
}


def parse_fault(raw: object) -> Fault:
    """A fault from its JSON object. Raises ValueError for what it does not know, so that no test is mistaken."""
    known = {entry.name for entry in fields(Fault)}
    if not isinstance(raw, Mapping) or not set(raw) <= known:
        raise ValueError(f"a fault is an object of {', '.join(sorted(known))}")
    if raw.get("kind") not in KINDS or raw.get("on", "*") not in ENDPOINTS:
        raise ValueError("kind or on is not known")
    for name, kinds in _TYPES.items():
        if name in raw and (not isinstance(raw[name], kinds) or isinstance(raw[name], bool)):
            raise ValueError(f"{name} has the wrong type")
    values: dict[str, Any] = dict(raw)
    values["emails"] = frozenset(values.get("emails", ()))
    return Fault(**values)


class FaultQueue:
    """Faults in the order in which they were given; of those that meet a request, the first is played."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Append a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def take(self, endpoint: str) -> Fault:
        """The fault of this request, `NO_FAULT` when there is none; counts it."""
        for at, fault in enumerate(self._faults):
            if not fault.meets(endpoint):
                continue
            if fault.times is None:
                return fault
            if fault.times <= 1:
                del self._faults[at]
            else:
                self._faults[at] = replace(fault, times=fault.times - 1)
            return fault
        return NO_FAULT

    def __len__(self) -> int:
        return len(self._faults)
