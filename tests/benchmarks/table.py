"""What a run says: a table for people, JSON for machines, and whether the bounds hold."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.clients import percentile
from tests.benchmarks.machine import Cores
from tests.benchmarks.rounds import Figures
from tests.benchmarks.wrk import CONNECTIONS

SERVERS = ("gateway", "nginx", "bare")
_COLUMNS = {"gateway": "Sentinel, governed", "nginx": "nginx proxy_pass", "bare": "bare ASGI"}
_PERCENTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Bound:
    """A ratio within one run, and what it may be: now, and in the end."""

    what: str
    measured: float
    first: float
    final: float

    @property
    def holds(self) -> bool:
        """Whether the first bound holds: the run fails otherwise."""
        return self.measured <= self.first

    @property
    def verdict(self) -> str:
        """For the reader."""
        return "FAIL" if not self.holds else "PASS" if self.measured > self.final else "PASS, final too"


def bounds(figures: Figures) -> list[Bound]:
    """The bounds of this run."""
    return [
        Bound("CPU of a governed call / bare ASGI callable", figures.plain_ratio("gateway", "bare"), 14.0, 8.0),
        Bound("CPU of a relayed event / nginx", figures.event_ratio("gateway", "nginx"), 4.5, 3.0),
    ]


def rows(figures: Figures) -> dict[str, dict[str, str]]:
    """What was measured, by row and server."""
    found: dict[str, dict[str, str]] = {
        "CPU per plain call, us": {name: f"{figures.cpu_per_call(name):.1f}" for name in SERVERS},
        "  x bare ASGI callable": {name: f"{figures.plain_ratio(name, 'bare'):.2f}" for name in SERVERS},
        "  x nginx": {name: f"{figures.plain_ratio(name, 'nginx'):.2f}" for name in SERVERS},
        "calls/s on one core": {name: f"{figures.calls_per_second(name):,.0f}" for name in SERVERS},
    }
    streamed = tuple(figures.streams)
    found["CPU per streamed event, us"] = {name: f"{figures.cpu_per_event(name):.1f}" for name in streamed}
    found["  x nginx "] = {name: f"{figures.event_ratio(name, 'nginx'):.2f}" for name in streamed}
    found["  while all streams run, us"] = {name: f"{figures.steady_cpu_per_event(name):.1f}" for name in streamed}
    firsts = {name: [first for each in figures.streams[name] for first in each.first_ms] for name in streamed}
    found["first event p50 / p99, ms"] = {name: _both(values) for name, values in firsts.items()}
    for concurrent, taken in figures.latency_ms.items():
        found[f"added p50 / p99 at {concurrent}, ms"] = {name: _added(taken, name) for name in SERVERS}
        found[f"  in all p50 / p99 at {concurrent}, ms"] = {name: _both(taken[name]) for name in SERVERS}
    for when, memory in figures.memory_mb.items():
        found[f"memory {when}, MB"] = {name: f"{value:.0f}" for name, value in memory.items()}
    return found


def _both(values: Sequence[float]) -> str:
    return " / ".join(f"{percentile(values, share):.2f}" for share in _PERCENTILES.values())


def _added(taken: Mapping[str, Sequence[float]], name: str) -> str:
    """Over a call straight to the upstream. The bare callable has no upstream, so it may take less than none."""
    added = (percentile(taken[name], share) - percentile(taken["direct"], share) for share in _PERCENTILES.values())
    return " / ".join(f"{value:.2f}" for value in added)


def render(figures: Figures, seconds: float, where: Cores) -> str:
    """The table, the machine, the bounds."""
    found = rows(figures)
    wide = max(map(len, found)) + 2
    lines = ["", f"{'':{wide}}" + "".join(f"{_COLUMNS[name]:>20}" for name in SERVERS)]
    lines += [
        f"{what:{wide}}" + "".join(f"{row.get(name, '-'):>20}" for name in SERVERS) for what, row in found.items()
    ]
    apart = "" if where.are_apart else " There is only one core: load and server shared it."
    lines += [
        "",
        f"{machine.name()}.",
        f"Server under test on core {where.server}, load, upstream and Redis on core {where.load}.{apart}",
        f"Medians of rounds in one run of {seconds:.0f} s; plain calls on {CONNECTIONS} connections. Only ratios last.",
        "",
    ]
    for bound in bounds(figures):
        wanted = f"<= {bound.first:g}, in the end <= {bound.final:g}"
        lines.append(f"{bound.what:46}{bound.measured:6.2f}   {wanted:27}{bound.verdict}")
    return "\n".join(lines)


def as_json(figures: Figures, seconds: float) -> dict[str, Any]:
    """Everything, rounds included; latencies as percentiles."""
    latency = {
        str(concurrent): {
            name: {label: percentile(values, share) for label, share in _PERCENTILES.items()}
            for name, values in taken.items()
        }
        for concurrent, taken in figures.latency_ms.items()
    }
    streams = {
        name: [
            {"cpu_us": each.cpu_us, "steady_cpu_us": each.steady_cpu_us, "first_event_ms": _both(each.first_ms)}
            for each in found
        ]
        for name, found in figures.streams.items()
    }
    return {
        "machine": machine.name(),
        "seconds": round(seconds, 1),
        "plain": {name: [asdict(each) for each in found] for name, found in figures.plain.items()},
        "streams": streams,
        "latency_ms": latency,
        "memory_mb": figures.memory_mb,
        "bounds": [{**asdict(bound), "holds": bound.holds} for bound in bounds(figures)],
    }
