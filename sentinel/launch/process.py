"""One supervised process: started in its own session, told to end when its launcher dies, stopped within a time."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def always() -> bool:
    """Readiness of a process that is ready when it runs."""
    return True


def never() -> bool:
    """Whoever stops a process has all the patience that its `Spec` allows."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to run, how to see that it is ready (polled), and how to end it. Times in seconds."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = always
    ready_seconds: float = 30.0
    stop_seconds: float = 10.0
    orphan_signal: signal.Signals = signal.SIGKILL
    log: Path | None = None


def follow_parent(parent: int, orphan_signal: signal.Signals) -> None:
    """Make the kernel signal this process when the process that started it is gone (Linux; elsewhere nothing)."""
    if not sys.platform.startswith("linux"):
        return
    LIBC.prctl(PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
    if os.getppid() != parent:  # it died between the fork and this line
        os._exit(1)


class Child:
    """A process of a `Spec`, started any number of times. Must be started from the launcher's main thread: the kernel
    counts the end of the starting thread as the end of the parent."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The name that people see."""
        return self.spec.name

    @property
    def pid(self) -> int:
        """Process id, 0 when it was never started."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the process; its output goes to the log file, or where ours goes."""
        parent, orphan_signal = os.getpid(), self.spec.orphan_signal
        output = self.spec.log.open("ab") if self.spec.log else None
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own commands, no shell
                self.spec.argv,
                env=dict(self.spec.env) or None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which then stops all in order
                preexec_fn=lambda: follow_parent(parent, orphan_signal),  # one thread here, so no lock is held
            )
        finally:
            if output:
                output.close()

    def is_running(self) -> bool:
        """True while the process lives. Notices its end, and then ends what it left behind."""
        if self._process is None or self._process.returncode is not None:
            return False
        # Look without reaping: until then nobody else can get its number, so kill() hits its own session only.
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return True
        self.kill()
        return False

    def is_ready(self) -> bool:
        """True when it lives and answers."""
        return self.is_running() and self.spec.ready()

    def ending(self) -> str:
        """How it ended, for people."""
        code = self._process.returncode if self._process else None
        if code is None:
            return "not ended"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def stop(self, give_up: Callable[[], bool] = never) -> bool:
        """Ask it to end, wait, then kill what is left of its session. True when it ended by itself.

        `give_up` is asked all the time, and ends the waiting at once.
        """
        if self._process is None or not self.is_running():
            return True
        self._process.terminate()
        deadline = time.monotonic() + self.spec.stop_seconds
        pause = threading.Event()
        while self.is_running():
            if time.monotonic() > deadline or give_up():
                self.kill()
                return False
            pause.wait(0.02)
        return True

    def kill(self) -> None:
        """End it and all of its session, at once."""
        if self._process is None or self._process.returncode is not None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
