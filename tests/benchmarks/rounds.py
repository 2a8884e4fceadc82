"""The plan of a run and its figures: short rounds, interleaved between the servers, so that noise hits all alike."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import uvloop

from tests.benchmarks import clients, machine, wrk
from tests.benchmarks.clients import Streams, percentile
from tests.benchmarks.stand import Stand, Target
from tests.benchmarks.wrk import Plain

STREAMS = 100
OPEN_STREAMS = 1000
_OPEN_SECONDS = 4.0
_WARM_CALLS = 64
_CALLS_OF_BLOCK = {1: 50, 32: 640}  # by concurrency
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    plain_seconds: float
    waves: int  # of streams in one round, a bit over a second each
    blocks: int  # of calls for latency, per server and concurrency
    with_open_streams: bool


FULL = Plan(rounds=3, plain_seconds=4, waves=2, blocks=10, with_open_streams=True)
QUICK = Plan(rounds=2, plain_seconds=1, waves=1, blocks=3, with_open_streams=False)


@dataclass(slots=True)
class Figures:
    """What was measured, by server; rounds in order."""

    plain: dict[str, list[Plain]] = field(default_factory=dict)
    streams: dict[str, list[Streams]] = field(default_factory=dict)
    latency_ms: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    memory_mb: dict[str, dict[str, float]] = field(default_factory=dict)

    def cpu_per_call(self, name: str) -> float:
        """Median of the rounds, microseconds."""
        return statistics.median(each.cpu_us for each in self.plain[name])

    def calls_per_second(self, name: str) -> float:
        """Median of the rounds."""
        return statistics.median(each.calls_per_second for each in self.plain[name])

    def cpu_per_event(self, name: str) -> float:
        """Median of the rounds, microseconds."""
        return statistics.median(each.cpu_us for each in self.streams[name])

    def steady_cpu_per_event(self, name: str) -> float:
        """Median of the rounds, microseconds."""
        return statistics.median(each.steady_cpu_us for each in self.streams[name])

    def first_event_ms(self, name: str, share: float) -> float:
        """Percentile over the streams of all rounds."""
        return percentile([first for each in self.streams[name] for first in each.first_ms], share)

    def latency(self, concurrent: int, name: str, share: float) -> float:
        """Percentile over all blocks, milliseconds."""
        return percentile(self.latency_ms[concurrent][name], share)

    def plain_ratio(self, name: str, to: str) -> float:
        """Median over the rounds of the ratio within each: what disturbs a round disturbs both."""
        return statistics.median(a.cpu_us / b.cpu_us for a, b in zip(self.plain[name], self.plain[to], strict=True))

    def event_ratio(self, name: str, to: str) -> float:
        """The same for events."""
        pairs = zip(self.streams[name], self.streams[to], strict=True)
        return statistics.median(a.cpu_us / b.cpu_us for a, b in pairs)


class Run:
    """One run over a stand."""

    def __init__(self, stand: Stand, plan: Plan, wrk_path: str, say: Say) -> None:
        self._stand, self._plan, self._say, self._wrk = stand, plan, say, wrk_path
        self.figures = Figures()

    def all(self) -> Figures:
        """Measure everything. Raises AssertionError when any answer was wrong."""
        self._memory("idle")
        for number in range(1, self._plan.rounds + 1):
            self._plain_round(number)
        for number in range(1, self._plan.rounds + 1):
            self._stream_round(number)
        for concurrent in (1, wrk.CONNECTIONS):
            self._latency(concurrent)
        self._memory("after")
        if self._plan.with_open_streams:
            self._open_streams()
        return self.figures

    def _plain_round(self, number: int) -> None:
        for target in _under_test(self._stand.plain):
            self._forget(target)
            found = wrk.run(self._wrk, self._stand.script, target, self._plan.plain_seconds)
            self.figures.plain.setdefault(target.name, []).append(found)
            self._say(
                f"plain   {number}  {target.name:8}{found.cpu_us:7.1f} us/call {found.calls_per_second:8,.0f} calls/s"
            )

    def _stream_round(self, number: int) -> None:
        for target in _under_test(self._stand.streaming):
            self._forget(self._stand.plain["gateway"])
            found = uvloop.run(clients.streams(target, STREAMS, self._plan.waves))
            self.figures.streams.setdefault(target.name, []).append(found)
            self._say(f"streams {number}  {target.name:8}{found.cpu_us:7.1f} us/event")

    def _forget(self, target: Target) -> None:
        """Empty the ledger, and have the caller looked up again before anything is measured."""
        self._stand.forget()
        uvloop.run(clients.latencies(target, 1, _WARM_CALLS))

    def _latency(self, concurrent: int) -> None:
        found: dict[str, list[float]] = {name: [] for name in self._stand.plain}
        self._forget(self._stand.plain["gateway"])
        for _ in range(self._plan.blocks):
            for name, target in self._stand.plain.items():
                found[name] += uvloop.run(clients.latencies(target, concurrent, _CALLS_OF_BLOCK[concurrent]))
        self.figures.latency_ms[concurrent] = found
        medians = "  ".join(f"{name} {percentile(taken, 0.5):.2f}" for name, taken in found.items())
        self._say(f"latency at {concurrent}: p50 in ms: {medians}")

    def _memory(self, when: str) -> None:
        found = {target.name: machine.memory_mb(target.pid) for target in _under_test(self._stand.plain)}
        self.figures.memory_mb[when] = found
        self._say(f"memory {when}: gateway {found['gateway']:.0f} MB")

    def _open_streams(self) -> None:
        self._forget(self._stand.plain["gateway"])
        target = self._stand.streaming["gateway"]
        memory = uvloop.run(clients.memory_with_streams(target, OPEN_STREAMS, _OPEN_SECONDS))
        self.figures.memory_mb[f"with {OPEN_STREAMS:,} streams"] = {"gateway": memory}
        self._say(f"memory with {OPEN_STREAMS:,} open streams: gateway {memory:.0f} MB")


def _under_test(targets: Mapping[str, Target]) -> list[Target]:
    return [target for name, target in targets.items() if name != "direct"]
