"""The whole stack for journeys: real processes, real sockets, a Redis that may be killed, and both simulators.

1. Redis first; then migrations, simulators and gateways side by side; then worker and beat.
2. Everything lives in one temporary folder: data, database, journal, and a log per process.
3. Everything ends by its pid, and a process that failed shows the end of its log.
"""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import redis

from sentinel.launch.probes import alive_file, http_ok, is_alive
from sentinel.launch.process import Child, Spec, always
from sentinel.launch.redis import EmbeddedRedis
from sentinel.sandbox.cast import METRICS, PROVIDER_KEY, ZION_KEY
from tests.launch.processes import descendants
from tests.people import Person
from tests.redis_server import short_folder
from tests.servers import free_port
from tests.simulator import Simulator
from tests.wait import until

_READY_SECONDS = 40.0
_TAIL_BYTES = 4000
# Short enough that no test waits long, long enough for two busy cores.
SETTINGS = {
    "ZION_HONOURS_KEYS": "true",
    "SENTINEL_HOST": "127.0.0.1",
    "SENTINEL_WORKERS": "1",
    "LOG_LEVEL": "INFO",
    "FLUSH_INTERVAL_SECONDS": "0.1",
    "RATE_LIMIT_REQUESTS": "250",
    "FAILED_LOGINS_PER_MINUTE": "1000",
    "UPSTREAM_IDLE_SECONDS": "1.5",
    "UPSTREAM_FIRST_BYTE_SECONDS": "3",
    "UPSTREAM_TOTAL_SECONDS": "3",
    "HEADER_TIMEOUT_SECONDS": "1.5",
    "BODY_TIMEOUT_SECONDS": "2",
    "MAX_BODY_BYTES": "262144",
    "SHUTDOWN_GRACE_SECONDS": "1",
    "REDIS_TIMEOUT_SECONDS": "2",
}


class Stack:
    """One installation. `settings` are environment variables over those of `SETTINGS`."""

    def __init__(self, folder: Path, *, gateways: int = 2, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        (folder / "log").mkdir()
        self.redis = EmbeddedRedis(folder)
        self.zion = Simulator("zion", folder)
        self.provider = Simulator("provider", folder)
        self.ports = [free_port() for _ in range(gateways)]
        self._settings = {**SETTINGS, **(settings or {})}
        self.gateways = [self._gateway(at, port) for at, port in enumerate(self.ports)]
        self.worker, self.beat = self._celery("worker"), self._celery("beat")
        self._ledger = redis.Redis.from_url(self.redis.url)
        self._numbers = count(1)

    @property
    def urls(self) -> list[str]:
        """Base URL of each gateway."""
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    @property
    def url(self) -> str:
        """Base URL of the first gateway."""
        return self.urls[0]

    def start(self) -> None:
        """Start everything and wait until all is ready. Raises AssertionError with the log of what failed."""
        self.redis.start()
        migration = self._child("migrate", self._ours("migrate"))
        for child in (migration, self.zion.child, self.provider.child, *self.gateways):
            child.start()
        until(lambda: not migration.is_running(), _READY_SECONDS, "migrations are applied")
        assert migration.ending() == "exit code 0", self.tail("migrate")
        self.worker.start()
        self.beat.start()
        for child in (self.zion.child, self.provider.child, *self.gateways, self.worker, self.beat):
            self.wait_for(child)

    def stop(self) -> None:
        """End everything, the gateways first."""
        self._ledger.close()
        for simulator in (self.zion, self.provider):
            simulator.close()
        for child in (*self.gateways, self.worker, self.beat, self.zion.child, self.provider.child):
            child.kill()
        self.redis.stop()

    def wait_for(self, child: Child) -> None:
        """Wait until this process is ready. Raises AssertionError with the end of its log."""
        until(lambda: child.is_ready() or not child.is_running(), _READY_SECONDS, f"{child.name} is ready")
        assert child.is_running(), f"{child.name} ended ({child.ending()}):\n{self.tail(child.name)}"

    @contextmanager
    def another_gateway(self, settings: Mapping[str, str], *, redis_url: str = "") -> Iterator[tuple[str, Child]]:
        """One more gateway with settings of its own, for as long as the block lasts: its base URL, and its process."""
        port = free_port()
        more = {**settings, "SENTINEL_PORT": str(port), "REDIS_URL": redis_url or self.redis.url}
        ready = partial(http_ok, port, "/health/ready")
        child = self._child(f"gateway-{port}", self._ours("gateway"), ready=ready, more=more)
        child.start()
        try:
            self.wait_for(child)
            yield f"http://127.0.0.1:{port}", child
        finally:
            child.kill()

    def restart(self, child: Child) -> None:
        """Start a process again that was killed; does not wait for it."""
        if child.name in {"worker", "beat"}:
            alive_file(self.folder, child.name).unlink(missing_ok=True)
        child.start()

    def gateway_workers(self, at: int = 0) -> list[int]:
        """Process ids of the workers below a gateway's supervisor, which replaces those that die."""
        return workers_of(self.gateways[at])

    def tail(self, name: str) -> str:
        """The end of a process' log."""
        path = self._log(name)
        return path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if path.exists() else ""

    def log(self, name: str) -> str:
        """All that a process logged."""
        return self._log(name).read_text(encoding="utf-8", errors="replace")

    def person(self, prefix: str = "user", **fields: Any) -> Person:
        """Somebody new, known to Zion; `fields` in the words of its control interface (`limits`, `used`, ...)."""
        return self.people(1, prefix, **fields)[0]

    def people(self, number: int, prefix: str = "user", **fields: Any) -> list[Person]:
        """Several new people with the same limits."""
        made = [Person(f"{prefix}{next(self._numbers)}") for _ in range(number)]
        self.zion.tell("/_control/users", [{"name": each.name, **fields} for each in made])
        return made

    def at_zion(self, person: Person) -> dict[str, int]:
        """What was applied at Zion for this person, per metric."""
        found: dict[str, int] = self.zion.ask("/_control/ledger")["users"].get(person.name, dict.fromkeys(METRICS, 0))
        return found

    def provider_calls(self, person: Person) -> list[dict[str, Any]]:
        """The provider's records of calls whose `user` or `metadata.who` names this person."""
        found: list[dict[str, Any]] = self.provider.ask(f"/_control/calls?who={person.name}")
        return found

    def at_provider(self, person: Person) -> dict[str, int]:
        """What the provider generated for this person in calls that it answered 200, per metric."""
        served = [call for call in self.provider_calls(person) if call["status"] == 200]
        tokens = {"input": sum(call["prompt_tokens"] for call in served), "output": sum(c["pieces"] for c in served)}
        return {**tokens, "requests": len(served)}

    def rows(self, *people: Person) -> list[dict[str, Any]]:
        """The history's rows of these people's delivered calls."""
        names = [each.external_id for each in people]
        marks = ",".join("?" * len(names))
        query = f"SELECT * FROM usage_callrecord WHERE external_id IN ({marks})"  # noqa: S608 - marks only
        with closing(sqlite3.connect(self.folder / "sentinel.sqlite3", timeout=10)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query, names)]

    def ledger_of(self, person: Person) -> dict[str, str]:
        """The person's hash in Redis."""
        found: Any = self._ledger.hgetall(f"{{s00}}:user:{person.external_id}")
        return {name.decode(): value.decode() for name, value in found.items()}

    def held(self, person: Person) -> int:
        """All that is held for this person, over all metrics, and calls that count as running."""
        fields = self.ledger_of(person)
        return sum(int(value) for name, value in fields.items() if name.endswith(":held") or name == "active")

    def is_at_rest(self) -> bool:
        """Whether no call is open, and every settled one is delivered and in the history."""
        # One transaction: between two questions an event may move from one place to another.
        reader = self._ledger.pipeline()
        for name in ("leases", "batches", "delivered"):
            reader.zcard(f"{{s00}}:{name}")
        reader.xlen("{s00}:usage")
        return not any(reader.execute())

    def set_aside(self) -> int:
        """Batches that wait for an operator."""
        return sum(int(self._ledger.zcard(f"{{s00}}:{name}")) for name in ("held", "dead"))

    def _environment(self) -> dict[str, str]:
        fixed = {
            "SENTINEL_DATA_DIR": str(self.folder),
            "REDIS_URL": self.redis.url,
            "ZION_API_URL": self.zion.url,
            "ZION_API_KEY": ZION_KEY,
            "OPENAI_API_URL": f"{self.provider.url}/v1",
            "OPENAI_API_KEY": PROVIDER_KEY,
            "PYTHONUNBUFFERED": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if name != "REDIS_KEY_PREFIX"}
        return {**inherited, **fixed, **self._settings}

    def _gateway(self, at: int, port: int) -> Child:
        ready = partial(http_ok, port, "/health/ready")
        return self._child(f"gateway{at}", self._ours("gateway"), ready=ready, more={"SENTINEL_PORT": str(port)})

    def _celery(self, name: str) -> Child:
        return self._child(name, self._ours(name), ready=partial(is_alive, alive_file(self.folder, name)))

    def _child(
        self,
        name: str,
        argv: Sequence[str],
        *,
        ready: Callable[[], bool] = always,
        more: Mapping[str, str] | None = None,
    ) -> Child:
        environment = {**self._environment(), **(more or {})}
        return Child(Spec(name=name, argv=tuple(argv), env=environment, ready=ready, log=self._log(name)))

    def _ours(self, command: str) -> Sequence[str]:
        return (sys.executable, "-m", "sentinel.launch", command)

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"


@contextmanager
def running(*, gateways: int = 2, settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack for as long as the block lasts."""
    with short_folder() as folder:
        stack = Stack(folder, gateways=gateways, settings=settings)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


def workers_of(gateway: Child) -> list[int]:
    """Process ids of the workers below a gateway's supervisor."""
    return [pid for pid in descendants(gateway.pid) if b"spawn_main" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
