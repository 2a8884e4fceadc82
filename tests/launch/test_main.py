"""The command line: what is wrong is said in sentences, with an exit code, never a traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.config import BASE_DIR, Config


def launch(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, with these settings and no others."""
    known = {name.upper() for name in Config.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in known}
    argv = [sys.executable, "-m", "sentinel.launch", *arguments]
    everything = {**environment, "SENTINEL_DATA_DIR": str(data_dir), **variables}
    return subprocess.run(argv, env=everything, cwd=BASE_DIR, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("command", ["serve", "gateway", "worker"])
def test_missing_settings_are_all_named(tmp_path: Path, command: str) -> None:
    # Empty values stand for a developer's own .env, which they hide.
    ended = launch(tmp_path, command, ZION_API_URL="", ZION_API_KEY="", OPENAI_API_KEY="")

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert all(name in ended.stderr for name in ("ZION_API_URL", "ZION_API_KEY", "OPENAI_API_KEY"))


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_busy_port_is_said_before_anything_starts(tmp_path: Path, command: str) -> None:
    settings = {"ZION_API_URL": "http://127.0.0.1:9", "ZION_API_KEY": "k", "OPENAI_API_KEY": "k"}
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])

        ended = launch(tmp_path, command, SENTINEL_PORT=port, SENTINEL_HOST="127.0.0.1", **settings)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Cannot listen on 127.0.0.1 port {port}: Address already in use.")
    assert "ready" not in ended.stdout


def test_a_malformed_setting_is_named(tmp_path: Path) -> None:
    ended = launch(tmp_path, "run", SENTINEL_PORT="many")

    assert ended.returncode == 2
    assert "SENTINEL_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_command_lists_the_commands(tmp_path: Path) -> None:
    ended = launch(tmp_path, "fly")

    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: ")


@pytest.mark.parametrize("name", ["gateway", "worker", "beat"])
def test_what_does_not_run_is_not_alive(tmp_path: Path, name: str) -> None:
    assert launch(tmp_path, "alive", name, SENTINEL_PORT="1").returncode == 1
