"""Worker and beat: they show that they work, tick through the embedded Redis, and end when told."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from sentinel.launch.probes import alive_file, is_alive
from tests.redis_server import private_server
from tests.wait import until


def start(name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.launch.standin_celery", name], env=environment)


def test_ticks_pass_and_both_are_seen_alive_until_they_are_stopped(tmp_path: Path) -> None:
    with private_server() as server:
        environment = os.environ | {"REDIS_URL": server.url, "SENTINEL_DATA_DIR": str(tmp_path), "BROKER_URL": ""}
        processes = {name: start(name, environment) for name in ("worker", "beat")}
        try:
            for name in processes:
                until(partial(is_alive, alive_file(tmp_path, name)), 20)
            until((tmp_path / "ticked").exists, 20)
        finally:
            for process in processes.values():
                process.terminate()
            codes = [process.wait(20) for process in processes.values()]

        assert codes == [0, 0]
        assert not any(alive_file(tmp_path, name).exists() for name in processes)
