"""Start in order and wait until ready; restart what dies; stop in reverse order. Knows nothing of what it runs.

1. `up` starts every service, waits for each to answer, and reports one line with its time.
2. `watch` sleeps until a signal or a death, and restarts the dead with a growing pause.
3. `down` stops in reverse order of starting; a further signal ends what is left at once.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sentinel.launch.errors import LaunchError
from sentinel.launch.process import Child, Spec

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
STEADY_SECONDS = 30.0  # ran this long: its next death starts with the shortest pause again
LOG_TAIL_LINES = 15


class Service(Protocol):
    """What can be supervised: a `process.Child`, or the embedded Redis."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def pid(self) -> int: ...
    def start(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_ready(self) -> bool: ...
    def ending(self) -> str: ...
    def stop(self, give_up: Callable[[], bool] = ...) -> bool: ...


class Signals:
    """SIGINT, SIGTERM and SIGCHLD as something to wait for: no code runs inside a signal handler."""

    def __init__(self) -> None:
        self._reader, writer = socket.socketpair()
        self._reader.setblocking(False)
        writer.setblocking(False)
        self._writer = writer
        self.stops = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait(self, seconds: float) -> bool:
        """Return at a signal or after this time; true once somebody asked to stop."""
        if select.select([self._reader], [], [], seconds)[0]:
            self.stops += sum(number in (signal.SIGINT, signal.SIGTERM) for number in self._reader.recv(256))
        return self.stops > 0

    def close(self) -> None:
        """Give the process its usual behaviour back."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


@dataclass(slots=True)
class _Life:
    """Of one service: since when it runs, and when it may be started again."""

    started: float = 0.0
    restart_at: float | None = None
    pause: float = FIRST_PAUSE_SECONDS


class Supervisor:
    """The services of one stack, in the order in which they were started."""

    def __init__(self, signals: Signals, report: Callable[[str], None]) -> None:
        self._signals = signals
        self._report = report
        self._started: list[Service] = []
        self._lives: dict[str, _Life] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each service."""
        return {service.name: service.pid for service in self._started}

    def up(self, services: list[Service]) -> bool:
        """Start services side by side and wait for each. False when asked to stop meanwhile.

        Raises LaunchError when one does not become ready.
        """
        begin = time.monotonic()
        for service in services:
            self._started.append(service)
            service.start()
            self._lives[service.name] = _Life(started=time.monotonic())
        return all(self._wait_until_ready(service, begin) for service in services)

    def finish(self, job: Child, begin: float) -> bool:
        """Wait for a job that ends by itself. False when asked to stop meanwhile; raises LaunchError when it fails."""
        while job.is_running():
            if self._signals.wait(0.05):
                job.kill()
                return False
            if time.monotonic() - begin > job.spec.ready_seconds:
                job.kill()
        if job.ending() != "exit code 0":
            raise LaunchError(f"{job.name} failed ({job.ending()}).{_log_tail(job.spec)}")
        self._report(f"  {job.name:<10} done  after {time.monotonic() - begin:5.1f} s")
        return True

    def _wait_until_ready(self, service: Service, begin: float) -> bool:
        deadline = time.monotonic() + service.spec.ready_seconds
        while not service.is_ready():
            if not service.is_running():
                raise LaunchError(
                    f"{service.name} ended while it started ({service.ending()}).{_log_tail(service.spec)}"
                )
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"{service.name} was not ready within {service.spec.ready_seconds:.0f} s.{_log_tail(service.spec)}"
                )
            if self._signals.wait(0.05):
                return False
        self._report(f"  {service.name:<10} ready after {time.monotonic() - begin:5.1f} s")
        return True

    def watch(self, changed: Callable[[], None]) -> None:
        """Keep all services running until somebody asks to stop; `changed` is called after each restart."""
        while not self._signals.wait(0.5):
            before = self.pids
            for service in self._started:
                self._revive(service)
            if self.pids != before:
                changed()

    def _revive(self, service: Service) -> None:
        life, now = self._lives[service.name], time.monotonic()
        if life.restart_at is None:
            if service.is_running():
                return
            life.pause = FIRST_PAUSE_SECONDS if now - life.started > STEADY_SECONDS else life.pause
            life.restart_at = now + life.pause
            self._report(f"{service.name} ended ({service.ending()}); starting it again in {life.pause:g} s")
            life.pause = min(2 * life.pause, LONGEST_PAUSE_SECONDS)
        elif now >= life.restart_at:
            life.restart_at, life.started = None, now
            try:
                service.start()
            except (LaunchError, OSError) as error:
                self._report(f"{service.name} did not start: {error}")

    def down(self) -> None:
        """Stop all in reverse order; when somebody asks once more, at once."""
        asked = self._signals.stops

        def asked_again() -> bool:
            self._signals.wait(0)
            return self._signals.stops > asked

        for service in reversed(self._started):
            begin = time.monotonic()
            word = "stopped" if service.stop(asked_again) else "killed"
            self._report(f"  {service.name:<10} {word} after {time.monotonic() - begin:5.1f} s")
        self._started.clear()


def _log_tail(spec: Spec) -> str:
    if spec.log is None or not spec.log.exists():
        return ""
    with spec.log.open("rb") as file:
        file.seek(-min(16_384, os.fstat(file.fileno()).st_size), os.SEEK_END)
        lines = file.read().decode("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
    return f" The end of {spec.log}:\n" + "\n".join(f"    {line}" for line in lines)
