"""The processes of a storm: one Redis, Zion's simulator, several workers and beats, each with a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sentinel import config
from sentinel.config import BASE_DIR
from sentinel.launch.probes import alive_file, is_alive
from sentinel.launch.process import Child
from sentinel.lib.redis import ledger
from sentinel.sandbox.cast import ZION_KEY
from tests.redis_server import short_folder
from tests.stack import Stack
from tests.wait import until

SETTINGS = {
    "FLUSH_INTERVAL_SECONDS": "0.5",
    "RETRY_SWEEP_SECONDS": "5",
    "BREAKER_OPEN_SECONDS": "1",
    "ZION_TIMEOUT_SECONDS": "1",
    "ZION_BATCH_TIMEOUT_SECONDS": "1",
    # Longer than the longest delay that the simulator is told, plus the time that its queue may take.
    "ZION_QUIET_SECONDS": "4",
    # A storm refuses the same item more often than any Zion would.
    "DELIVERY_MAX_TRIES": "50",
    "LOG_LEVEL": "WARNING",
}


class Stage(Stack):
    """Everything but gateways: usage is settled straight into Redis."""

    def __init__(self, folder: Path, *, workers: int, beats: int, settings: Mapping[str, str]) -> None:
        database = {"DATABASE_URL": f"sqlite:///{folder / 'history.sqlite3'}"}
        super().__init__(folder, gateways=0, settings={**SETTINGS, **database, **settings})
        self.workers = [self._process(f"worker{at}") for at in range(workers)]
        self.beats = [self._process(f"beat{at}") for at in range(beats)]

    @property
    def mortals(self) -> list[Child]:
        """Those that may be killed at any time."""
        return [*self.workers, *self.beats]

    def start(self) -> None:
        """Start all but the simulator of the provider. Raises AssertionError with the log of what failed."""
        self.redis.start()
        migration = self._child("migrate", self._ours("migrate"))
        migration.start()
        self.zion.child.start()
        until(lambda: not migration.is_running(), 40, "migrations are applied")
        assert migration.ending() == "exit code 0", self.tail("migrate")
        for child in self.mortals:
            child.start()
        for child in (self.zion.child, *self.mortals):
            self.wait_for(child)

    def stop(self) -> None:
        """End everything."""
        for child in self.mortals:
            child.kill()
        super().stop()

    def kill(self, child: Child) -> None:
        """SIGKILL a process, and start it again at once."""
        child.kill()
        child.start()

    def memory_mb(self) -> float:
        """The largest resident set among the workers now."""
        return max((_resident_mb(child.pid) for child in self.workers if child.is_running()), default=0.0)

    def redis_memory_mb(self) -> float:
        """What Redis says that its data takes."""
        return int(self._ledger.info("memory")["used_memory"]) / 2**20

    def delivered_calls(self) -> int:
        """Calls in the history, whichever database it is in."""
        asked = subprocess.run(
            [sys.executable, "manage.py", "export_usage", "--dry-run"],
            cwd=BASE_DIR, env=self._environment(), capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return int((asked.stdout + asked.stderr).split()[0])

    def _process(self, name: str) -> Child:
        folder = self.folder / name
        folder.mkdir()
        command = name.rstrip("0123456789")
        ready = partial(is_alive, alive_file(folder, command))
        return self._child(name, self._ours(command), ready=ready, more={"SENTINEL_DATA_DIR": str(folder)})


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


@contextmanager
def staged(*, workers: int = 3, beats: int = 2, settings: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """A stage for as long as the block lasts; this process settles into its Redis."""
    with short_folder() as folder:
        stage = Stage(folder, workers=workers, beats=beats, settings=settings or {})
        try:
            stage.start()
            with _pointed_at(stage):
                yield stage
        finally:
            stage.stop()


@contextmanager
def _pointed_at(stage: Stage) -> Iterator[None]:
    ours = {
        "REDIS_URL": stage.redis.url,
        "REDIS_KEY_PREFIX": "",
        "ZION_API_URL": stage.zion.url,
        "ZION_API_KEY": ZION_KEY,
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    _forget()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        ledger().close()
        _forget()


def _forget() -> None:
    config.get.cache_clear()
    ledger.cache_clear()
