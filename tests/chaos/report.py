"""The conservation report: for people, on one page."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.chaos.conservation import METRICS, Conservation

CLASSES = ("provider", "estimate", "partial", "reaped")


def page(found: Conservation, zion: Mapping[str, Mapping[str, int]], limits: Mapping[str, int | None]) -> list[str]:
    """Three ledgers, by class and by user."""
    lines = ["", "By class: what the provider served, what Sentinel recorded (input / output / requests)"]
    lines.append(f"  {'class':<12}{'calls':>8}{'served':>28}{'recorded':>28}")
    for name in CLASSES:
        sums = found.by_class[name]
        lines.append(f"  {name:<12}{sums.calls:>8}{_three(sums.served):>28}{_three(sums.recorded):>28}")
    lines += ["", "By user: recorded output by class, all recorded, what Zion has"]
    head = "".join(f"{name:>10}" for name in CLASSES)
    lines.append(f"  {'user':<12}{head}{'recorded':>26}{'Zion':>26}{'output limit':>14}")
    for user, booked in zion.items():
        outputs = "".join(f"{found.by_user[user, name].recorded['output']:>10}" for name in CLASSES)
        recorded, limit = found.recorded_of(user), limits.get(user)
        lines.append(f"  {user:<12}{outputs}{_three(recorded):>26}{_three(booked):>26}{limit or '-':>14}")
    totals = [sum((Counter(booked) for booked in zion.values()), Counter[str]())]
    lines.append(f"  {'all':<12}{'':>40}{_three(_recorded(found)):>26}{_three(totals[0]):>26}")
    return lines


def counts(title: str, found: Mapping[str, int]) -> list[str]:
    """A title, and under it what was counted, most often first."""
    ordered = sorted(found.items(), key=lambda each: (-each[1], each[0]))
    return ["", title, *(f"  {count:>7}  {name}" for name, count in ordered)] if ordered else []


def problems(found: Sequence[str], most: int = 40) -> list[str]:
    """The end of the report: conserved, or what is wrong."""
    if not found:
        return ["", "CONSERVED: no event is missing, none is twice, every class is within its promise."]
    return ["", f"NOT CONSERVED: {len(found)} problems", *(f"  {each}" for each in found[:most])]


def _recorded(found: Conservation) -> Counter[str]:
    return sum((sums.recorded for sums in found.by_class.values()), Counter[str]())


def _three(amounts: Mapping[str, int]) -> str:
    return " / ".join(f"{amounts.get(metric, 0):,}" for metric in METRICS)
