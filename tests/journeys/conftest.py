"""One stack for all journeys of this folder; a server of others beside it; every foreign program run once.

1. The stack starts, then the foreign server, then a gateway whose provider that server is.
2. All programs run side by side, each once directly and once through Sentinel, and their documents are kept.
3. The tests only compare.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sentinel.config import BASE_DIR
from sentinel.launch.probes import http_ok
from sentinel.launch.process import Child, Spec
from sentinel.sandbox.cast import PROVIDER_KEY
from tests.journeys import at_others, at_simulator, in_chain
from tests.journeys.asks import Journey, write_files
from tests.oracle import encodings
from tests.servers import free_port
from tests.stack import Stack, running

FOREIGN = BASE_DIR / os.environ.get("FOREIGN", ".foreign")
_AT_ONCE = 4
_PROGRAM_SECONDS = 240
# The clients' own deadlines decide, not ours.
SETTINGS = {
    "RATE_LIMIT_REQUESTS": "100000",
    "UPSTREAM_IDLE_SECONDS": "30",
    "UPSTREAM_FIRST_BYTE_SECONDS": "30",
    "UPSTREAM_TOTAL_SECONDS": "60",
    "HEADER_TIMEOUT_SECONDS": "10",
    "BODY_TIMEOUT_SECONDS": "10",
    "MAX_BODY_BYTES": str(16 * 1024 * 1024),
}
_MODULES = "tests.journeys.clients"
PROGRAMS: Mapping[str, Sequence[str]] = {
    "openai": (sys.executable, "-m", f"{_MODULES}.synchronous"),
    "openai asynchronous": (sys.executable, "-m", f"{_MODULES}.asynchronous"),
    "openai for Node": (
        str(FOREIGN / "node/bin/node"),
        "--preserve-symlinks-main",
        str(FOREIGN / "node/programs/main.mjs"),
    ),
    "LangChain": (str(FOREIGN / "langchain/bin/python"), "-m", f"{_MODULES}.chain"),
}
SERVERS = ("the simulator", "a server of others")


def journeys_of(program: str, server: str) -> list[Journey]:
    """What this program does with this server."""
    if program == "LangChain":
        return in_chain.at_simulator() if server == SERVERS[0] else in_chain.at_others()
    return at_simulator.journeys() if server == SERVERS[0] else at_others.journeys()


@dataclass(frozen=True, slots=True)
class Door:
    """Where a program knocks."""

    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What one program saw of one server, per journey: directly, and through Sentinel."""

    direct: Mapping[str, Any]
    through: Mapping[str, Any]


@pytest.fixture(scope="session")
def foreign() -> Path:
    """The foreign environments."""
    for name in ("langchain", "node", "server"):
        assert (FOREIGN / name / ".installed").exists(), f"{FOREIGN / name} is missing: run scripts/foreign.sh."
    return FOREIGN


@pytest.fixture(scope="session")
def journeys_stack(foreign: Path) -> Iterator[Stack]:
    """Everything, with one gateway whose provider is our simulator."""
    with running(gateways=1, settings=SETTINGS) as stack:
        yield stack


@contextmanager
def foreign_server(folder: Path) -> Iterator[str]:
    """The server of others; its base URL."""
    port = free_port()
    argv = (str(FOREIGN / "server/bin/python"), "-m", "uvicorn", "app.openai_app:app", "--host", "127.0.0.1")
    options = ("--port", str(port), "--log-level", "warning")
    log, environment = folder / "log" / "foreign.log", {"PATH": os.environ["PATH"]}
    ready = partial(http_ok, port, "/health")
    child = Child(Spec(name="foreign", argv=argv + options, env=environment, ready=ready, log=log))
    child.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()


@pytest.fixture(scope="session")
def doors(journeys_stack: Stack) -> Iterator[Mapping[str, tuple[Door, Door]]]:
    """Per server its own door, and Sentinel's."""
    stack = journeys_stack
    opened = {"PASSTHROUGH_ALLOW": "GET /v1/responses/**"}
    with (
        foreign_server(stack.folder) as url,
        stack.another_gateway({"OPENAI_API_URL": f"{url}/v1", **opened}) as (other, _),
    ):
        ada = stack.person("ada")
        yield {
            SERVERS[0]: (Door(stack.provider.url, PROVIDER_KEY), Door(stack.url, ada.token)),
            SERVERS[1]: (Door(url, "any-key"), Door(other, ada.token)),
        }


@pytest.fixture(scope="session")
def seen(
    doors: Mapping[str, tuple[Door, Door]], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str], Seen]:
    """What every program saw of every server."""
    runs = [(program, server) for program in PROGRAMS for server in SERVERS]
    folder = tmp_path_factory.mktemp("plans")
    write_files(folder)
    encodings(folder)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        documents = [
            [threads.submit(play, program, door, journeys_of(program, server), folder) for door in doors[server]]
            for program, server in runs
        ]
        return {run: Seen(*(each.result() for each in pair)) for run, pair in zip(runs, documents, strict=True)}


def play(program: str, door: Door, journeys: Sequence[Journey], folder: Path) -> dict[str, Any]:
    """Run a program; its document."""
    asked = [each.as_json(folder) for each in journeys]
    plan = {"base_url": f"{door.url}/v1", "api_key": door.key, "journeys": asked}
    path = folder / f"{program}-{door.url.rpartition(':')[2]}.json".replace(" ", "-")
    path.write_text(json.dumps(plan), encoding="utf-8")
    done = subprocess.run(
        [*PROGRAMS[program], str(path)],
        cwd=BASE_DIR,
        env={
            "PATH": os.environ["PATH"],
            "TIKTOKEN_CACHE_DIR": str(folder),
            "PYTHONWARNINGS": "ignore::DeprecationWarning",
        },
        capture_output=True,
        timeout=_PROGRAM_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode(errors="replace")[-4000:]
    # Kept beside the plan, for whoever wants to know more than the tests tell.
    path.with_suffix(".seen.json").write_bytes(done.stdout)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
