"""Order of start and stop, restarts, and what is said when something does not start."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.launch.errors import LaunchError
from sentinel.launch.supervisor import Signals, Supervisor
from tests.launch.processes import child, lives


@pytest.fixture
def signals() -> Iterator[Signals]:
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    made = Signals()
    yield made
    made.close()
    for number, handler in ours.items():
        signal.signal(number, handler)


def unheard(_: str) -> None:
    """Reports that a test does not look at."""


def names(lines: list[str], word: str) -> list[str]:
    return [line.split()[0] for line in lines if word in line]


def test_services_start_in_order_and_stop_the_other_way_round(signals: Signals) -> None:
    lines: list[str] = []
    supervisor = Supervisor(signals, lines.append)

    assert supervisor.up([child(name="redis"), child(name="gateway")])
    supervisor.down()

    assert names(lines, "ready") == ["redis", "gateway"]
    assert names(lines, "stopped") == ["gateway", "redis"]
    assert all(re.search(r"\d\.\d s$", line) for line in lines)


def test_a_service_that_dies_is_started_again_and_said(signals: Signals) -> None:
    lines: list[str] = []
    supervisor = Supervisor(signals, lines.append)
    worker = child(name="worker")
    supervisor.up([worker])
    first = worker.pid
    os.kill(first, signal.SIGKILL)

    def changed() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    supervisor.watch(changed)

    assert worker.is_running()
    assert worker.pid != first
    assert lines[-1] == "worker ended (signal SIGKILL); starting it again in 0.5 s"
    supervisor.down()
    assert not lives(worker.pid)


def test_a_service_that_ends_while_it_starts_shows_the_end_of_its_log(signals: Signals, tmp_path: Path) -> None:
    supervisor = Supervisor(signals, unheard)
    broken = child("print('the port is taken'); raise SystemExit(3)", ready=lambda: False, log=tmp_path / "log")

    with pytest.raises(LaunchError, match=r"ended while it started \(exit code 3\)(.|\n)*the port is taken"):
        supervisor.up([broken])
    supervisor.down()


def test_a_service_that_never_becomes_ready_is_named_with_its_time(signals: Signals) -> None:
    supervisor = Supervisor(signals, unheard)
    silent = child(ready=lambda: False, ready_seconds=0.2)

    with pytest.raises(LaunchError, match="was not ready within"):
        supervisor.up([silent])
    supervisor.down()

    assert not silent.is_running()


def test_being_asked_to_stop_ends_the_start(signals: Signals) -> None:
    supervisor = Supervisor(signals, unheard)
    slow = child(ready=lambda: False)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    assert not supervisor.up([slow])
    supervisor.down()

    timer.join()
    assert not slow.is_running()


def test_a_failing_job_stops_the_start(signals: Signals, tmp_path: Path) -> None:
    job = child("raise SystemExit('no such table')", name="migrate", log=tmp_path / "log")
    job.start()

    with pytest.raises(LaunchError, match=r"migrate failed \(exit code 1\)(.|\n)*no such table"):
        Supervisor(signals, unheard).finish(job, time.monotonic())


def test_a_finished_job_lets_the_start_go_on(signals: Signals) -> None:
    job = child("pass")
    job.start()

    assert Supervisor(signals, unheard).finish(job, time.monotonic())
