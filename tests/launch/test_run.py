"""The whole sandbox as a newcomer starts it: ready, called, found from another shell, stopped without a trace."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel.config import BASE_DIR, Config
from sentinel.launch.probes import free_port
from sentinel.sources import read_run_file
from tests.launch.processes import descendants, lives
from tests.redis_server import short_folder
from tests.wait import until

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("stack")]


def environment(data_dir: Path) -> dict[str, str]:
    """As in a fresh shell, on a port of our own."""
    known = {name.upper() for name in Config.model_fields}
    bare = {name: value for name, value in os.environ.items() if name not in known}
    return bare | {"SENTINEL_DATA_DIR": str(data_dir), "SENTINEL_WORKERS": "1"}


@contextmanager
def sandbox(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`make run` and its gateway's port, when it is ready."""
    port = free_port(0)
    argv = [sys.executable, "-m", "sentinel.launch", "run"]
    settings = environment(data_dir) | {"SENTINEL_PORT": str(port)}
    output = (data_dir / "terminal").open("w+")
    process = subprocess.Popen(argv, env=settings, cwd=BASE_DIR, stdout=output, stderr=output, text=True)
    try:
        until(lambda: process.poll() is not None or read_run_file(data_dir).get("pids"), 90)
        assert process.poll() is None, terminal(data_dir)
        yield process, port
    finally:
        process.terminate()
        process.wait(60)
        output.close()


def terminal(data_dir: Path) -> str:
    """What the newcomer sees."""
    return (data_dir / "terminal").read_text(encoding="utf-8")


def ask(port: int, token: str) -> tuple[int, bytes]:
    """A streamed call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, content


def manage(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in another shell."""
    argv = [sys.executable, "manage.py", *arguments]
    return subprocess.run(argv, env=environment(data_dir), cwd=BASE_DIR, capture_output=True, text=True, check=False)


def test_a_newcomer_gets_a_streamed_answer_and_stops_everything_with_ctrl_c() -> None:
    with short_folder() as folder, sandbox(folder) as (process, port):
        below = descendants(process.pid)

        status, content = ask(port, "ada-token")
        assert (status, content.rstrip()[-12:]) == (200, b"data: [DONE]")
        assert ask(port, "cleo-token")[0] == 401
        assert ask(port, "eli-token")[0] == 429
        assert "Authorization: Bearer ada-token" in terminal(folder)

        doctor = manage(folder, "doctor")
        assert doctor.returncode == 0, doctor.stdout

        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert not any(map(lives, below))
        stopped = [line.split()[0] for line in terminal(folder).splitlines() if " stopped after " in line]
        assert stopped == ["gateway", "beat", "worker", "provider", "zion", "redis"]


@pytest.mark.journey
def test_killed_parts_come_back_and_nothing_outlives_a_killed_launcher() -> None:
    with short_folder() as folder, sandbox(folder) as (process, port):
        for name in ("redis", "worker", "gateway"):
            pid = int(str(read_run_file(folder)["pids"][name]))
            os.kill(pid, signal.SIGKILL)
            until(lambda name=name, pid=pid: read_run_file(folder)["pids"][name] != pid, 20)  # type: ignore[misc]
        until(lambda: answers(port), 30)
        below = descendants(process.pid)

        process.kill()
        process.wait()

        until(lambda: not any(map(lives, below)), 40)
        assert read_run_file(folder) == {}


def answers(port: int) -> bool:
    """True when a call is answered again."""
    try:
        return ask(port, "ada-token")[0] == 200
    except OSError:
        return False
