"""The installation that is tormented: two gateways, two workers, two beats, a Redis that may be killed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sentinel.launch.probes import alive_file, is_alive
from sentinel.launch.process import Child
from tests.redis_server import short_folder
from tests.stack import Stack
from usage.journal import orphans

LEASE_SECONDS = 3.0
_ROOT = Path(__file__).resolve().parents[2]
# Short, so that everything that has a deadline reaches it often.
SETTINGS = {
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "STREAM_DRAIN_SECONDS": "2",
    "ZION_BATCH_TIMEOUT_SECONDS": "2",
    "RETRY_SWEEP_SECONDS": "2",
    "BREAKER_OPEN_SECONDS": "2",
    "CACHE_TTL_SECONDS": "4",
    "QUOTA_WAIT_SECONDS": "1",
    "RATE_LIMIT_REQUESTS": "100000",
    "UPSTREAM_IDLE_SECONDS": "2",
    "UPSTREAM_FIRST_BYTE_SECONDS": "4",
    "UPSTREAM_TOTAL_SECONDS": "6",
    "LOG_LEVEL": "WARNING",
}


class Installation(Stack):
    """A stack with everything twice. The second worker and beat have a data folder of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, gateways=2, settings=SETTINGS)
        self._second = folder / "second"
        self._second.mkdir()
        self.workers = [self.worker, self._twin("worker")]
        self.beats = [self.beat, self._twin("beat")]

    def start(self) -> None:
        """Start everything and wait until all is ready."""
        super().start()
        for child in self._twins:
            child.start()
        for child in self._twins:
            self.wait_for(child)

    def stop(self) -> None:
        """End everything."""
        for child in self._twins:
            child.kill()
        super().stop()

    def revive(self) -> list[str]:
        """Start every process again that is not running, as a supervisor would; their names."""
        dead = [child for child in (*self.workers, *self.beats, *self.gateways) if not child.is_running()]
        for child in dead:
            child.start()
        return [child.name for child in dead]

    def tell_redis(self, *command: str | int) -> Any:
        """One command. Raises redis-py's errors."""
        return self._ledger.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py has no type for it

    def forgotten_journals(self) -> int:
        """Segments of dead gateways that nobody has replayed."""
        found = list(orphans(self.folder / "journal"))
        for orphan in found:
            orphan.leave()
        return len(found)

    def verify_ledger(self) -> tuple[int, str]:
        """What `manage.py verify_ledger` says: its exit status, and its lines."""
        done = subprocess.run(
            [sys.executable, "manage.py", "verify_ledger"],
            cwd=_ROOT, env=self._environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    @property
    def _twins(self) -> list[Child]:
        return [self.workers[1], self.beats[1]]

    def _twin(self, name: str) -> Child:
        database = f"sqlite:///{self.folder / 'sentinel.sqlite3'}"
        more = {"SENTINEL_DATA_DIR": str(self._second), "DATABASE_URL": database}
        ready = partial(is_alive, alive_file(self._second, name))
        return self._child(f"{name}2", self._ours(name), ready=ready, more=more)


@contextmanager
def installed() -> Iterator[Installation]:
    """An installation for as long as the block lasts. CHAOS_KEEP=folder keeps its logs there."""
    with short_folder() as folder:
        made = Installation(folder)
        try:
            made.start()
            yield made
        finally:
            made.stop()
            if kept := os.environ.get("CHAOS_KEEP"):
                subprocess.run(["cp", "-r", str(folder), kept], check=True)
