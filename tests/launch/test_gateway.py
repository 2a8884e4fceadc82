"""The gateway's processes: a dead worker is replaced, nobody outlives the supervisor, shutdown is clean."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel.launch.probes import free_port, http_ok
from tests.launch.processes import descendants, lives
from tests.wait import until


@contextmanager
def gateway(data_dir: Path, *arguments: str, workers: int = 2) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The supervisor over stand-in workers, and its port."""
    port = free_port(0)
    environment = os.environ | {
        "SENTINEL_HOST": "127.0.0.1",
        "SENTINEL_PORT": str(port),
        "SENTINEL_WORKERS": str(workers),
        "SENTINEL_DATA_DIR": str(data_dir),
    }
    argv = [sys.executable, "-m", "tests.launch.standin", *arguments]
    process = subprocess.Popen(argv, env=environment)
    try:
        yield process, port
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
        until(lambda: not any(map(lives, below)), 10)


def answer(port: int) -> tuple[int, http.client.HTTPMessage]:
    """The worker that answered, and the headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/")
    reply = connection.getresponse()
    pid = int(reply.read())
    connection.close()
    return pid, reply.headers


def test_a_killed_worker_is_replaced_and_the_supervisor_stays(tmp_path: Path) -> None:
    with gateway(tmp_path) as (process, port):
        until(lambda: http_ok(port, "/"), 20)
        first, _ = answer(port)

        os.kill(first, signal.SIGKILL)
        until(lambda: not lives(first))

        until(lambda: http_ok(port, "/"), 20)
        until(lambda: len(workers_below(process.pid)) == 2, 20)
        assert process.poll() is None


def test_a_worker_has_all_the_disk_of_its_metrics_before_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with gateway(tmp_path, workers=1) as (_, port):
        until(lambda: http_ok(port, "/"), 20)
        worker, _ = answer(port)

    files = list(tmp_path.glob(f"*_{worker}.db"))
    assert len(files) == 4
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size > 0 for file in files)


def test_a_worker_that_cannot_have_it_ends_the_gateway_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "is not there"))
    with gateway(tmp_path, workers=1) as (process, _):
        assert process.wait(20) == 1

    assert "Metrics cannot be written" in capfd.readouterr().err


def workers_below(pid: int) -> list[int]:
    """Worker processes; the supervisor also has a small resource tracker."""
    return [each for each in descendants(pid) if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def test_it_stops_cleanly_when_told(tmp_path: Path) -> None:
    with gateway(tmp_path, workers=1) as (process, port):
        until(lambda: http_ok(port, "/"), 20)
        below = descendants(process.pid)

        process.terminate()

        assert process.wait(20) == 0
        until(lambda: not any(map(lives, below)), 5)  # its helpers see its end a moment later


def test_no_worker_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with gateway(tmp_path) as (process, port):
        until(lambda: http_ok(port, "/"), 20)
        below = descendants(process.pid)
        assert len(below) >= 2

        process.kill()

        until(lambda: not any(map(lives, below)), 20)


def test_answers_do_not_name_the_server_software(tmp_path: Path) -> None:
    with gateway(tmp_path, workers=1) as (_, port):
        until(lambda: http_ok(port, "/"), 20)

        assert "server" not in answer(port)[1]


def test_an_application_that_cannot_start_ends_the_gateway_with_an_error(tmp_path: Path) -> None:
    with gateway(tmp_path, "tests.launch.nothing:application", workers=1) as (process, _):
        assert process.wait(30) == 1
