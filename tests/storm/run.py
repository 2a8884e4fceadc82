"""One storm from its first event to the comparison of the ledgers."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from threading import Event
from typing import Any

import orjson

from sentinel.sandbox.cast import METRICS
from tests.storm.stage import Stage, staged
from tests.storm.usage import Meter, Sums, at_zion, make_users
from tests.storm.weather import Weather
from usage import outbox
from usage.resolution import Place

SHARD = 0
_STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard it blows: events of users, settled evenly over `seconds`, with faults and deaths each so often."""

    events: int
    users: int
    seconds: float
    honours_keys: bool
    fault_every_seconds: float = 0.5
    kill_every_seconds: float = 3.0
    requests_per_second: int = 20
    workers: int = 3
    beats: int = 2
    seed: int = 1
    patience_seconds: float = 600.0
    database_url: str = ""


@dataclass(slots=True)
class Report:
    """What happened. `differences` has one line for every figure that is neither equal nor explained."""

    plan: dict[str, Any]
    calls: int = 0
    settled_seconds: float = 0.0
    drained_seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    requests_at_zion: int = 0
    most_in_a_second: int = 0
    applied_requests: int = 0
    repeated_keys: int = 0
    held_batches: int = 0
    held_calls: int = 0
    dead_batches: int = 0
    rows: int = 0
    worker_mb: float = 0.0
    redis_mb: float = 0.0
    differences: list[str] = field(default_factory=list)


def storm(plan: Plan) -> Report:
    """Raise it, let it pass, and compare the ledgers."""
    settings = {
        "ZION_HONOURS_KEYS": str(plan.honours_keys).lower(),
        "ZION_REQUESTS_PER_SECOND": str(plan.requests_per_second),
    }
    if plan.database_url:
        settings["DATABASE_URL"] = plan.database_url
    with staged(workers=plan.workers, beats=plan.beats, settings=settings) as stage:
        stage.zion.tell("/_control/keys", {"honour": plan.honours_keys})
        users = make_users(stage, plan.users)
        meter, weather, report = Meter(users, plan.seed), Weather(stage, users, plan.seed), Report(asdict(plan))
        started, began = time.monotonic(), time.time()
        for share in _moments(plan, weather):
            meter.settle(round(plan.events * share) - meter.calls, int(time.time() * 1000))
            report.worker_mb = max(report.worker_mb, stage.memory_mb())
            report.redis_mb = max(report.redis_mb, stage.redis_memory_mb())
        weather.clear()
        report.settled_seconds = round(time.monotonic() - started, 1)
        _drain(stage, plan.patience_seconds, report)
        report.drained_seconds = round(time.monotonic() - started, 1)
        report.calls = meter.calls
        report.faults, report.kills = dict(weather.faults), dict(weather.kills)
        _compare(stage, meter.sums, report)
        _look_at_requests(stage, began, report)
        return report


def _moments(plan: Plan, weather: Weather) -> Iterator[float]:
    """The share of events that should be settled by now, again and again until all are; faults and deaths between."""
    never, started = Event(), time.monotonic()
    strikes = kills = 0
    while (passed := time.monotonic() - started) < plan.seconds:
        while strikes * plan.fault_every_seconds < passed:
            weather.strike()
            strikes += 1
        if (kills + 1) * plan.kill_every_seconds < passed:
            weather.kill()
            kills += 1
        yield passed / plan.seconds
        never.wait(_STEP_SECONDS)
    yield 1.0


def _drain(stage: Stage, seconds: float, report: Report) -> None:
    """Wait until everything is delivered and in the history, or set aside. What is left then is a difference."""
    never, ends = Event(), time.monotonic() + seconds
    while not stage.is_at_rest():
        if time.monotonic() > ends:
            report.differences.append(f"not drained within {seconds} s")
            return
        report.worker_mb = max(report.worker_mb, stage.memory_mb())
        never.wait(_STEP_SECONDS)


def _compare(stage: Stage, ours: Sums, report: Report) -> None:
    """Zion's ledger equals ours per user, model and metric, but for what is held: that is there once or not at all."""
    held = _set_aside(Place.HELD, report)
    theirs = at_zion(stage)
    for at in sorted({*ours, *theirs}):
        expected, unsure, found = ours[at], held[at], theirs[at]
        if not expected - unsure <= found <= expected:
            report.differences.append(f"{' '.join(at)}: ours {expected}, of it held {unsure}, at Zion {found}")
    report.dead_batches = len(outbox.ids(SHARD, Place.DEAD))
    report.rows = stage.delivered_calls()
    if report.rows + report.held_calls != report.calls:
        report.differences.append(f"{report.calls} calls, {report.rows} rows, {report.held_calls} held")
    books = stage.zion.ask("/_control/ledger")
    report.applied_requests, report.repeated_keys = books["applied"], books["duplicate_keys"]


def _look_at_requests(stage: Stage, began: float, report: Report) -> None:
    """All that the workers asked: reports, and questions for limits where figures were read back."""
    times = [each["at"] for each in stage.zion.ask("/_control/requests") if each["at"] >= began]
    report.requests_at_zion, report.most_in_a_second = len(times), _most_in_a_second(times)


def _set_aside(place: Place, report: Report) -> Sums:
    sums: Sums = Counter()
    for batch in outbox.get(SHARD, outbox.ids(SHARD, place)):
        report.held_batches += 1
        report.held_calls += len(batch.members)
        for member in batch.members:
            event = orjson.loads(member.event)
            for metric in METRICS:
                sums[event["external_id"].removeprefix("ext-"), event["model"], metric] += event[metric]
    return sums


def _most_in_a_second(times: list[float]) -> int:
    """The largest number of arrivals inside any one second."""
    most = first = 0
    ordered = sorted(times)
    for last, at in enumerate(ordered):
        while ordered[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
