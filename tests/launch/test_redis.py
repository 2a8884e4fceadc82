"""The embedded Redis: durable, shared by racing launchers, gone with them."""

import stat
import subprocess
import sys
from pathlib import Path

import redis

from sentinel.launch.redis import EmbeddedRedis, embedded, socket_path
from tests.launch.processes import lives
from tests.redis_server import private_server, short_folder
from tests.wait import until

LAUNCHER = """
import signal, sys
from pathlib import Path
from sentinel.launch.redis import embedded
with embedded(Path(sys.argv[1])) as server:
    print(server.pid, server.url, flush=True)
    signal.pause()
"""


def launcher(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", LAUNCHER, str(folder)], stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_it_is_durable_and_never_evicts() -> None:
    with private_server() as server, redis.Redis.from_url(server.url) as client:
        settings = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "save")

        assert settings == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }


def test_a_killed_server_comes_back_on_the_same_url_with_its_data() -> None:
    with private_server("--appendfsync", "always") as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        first = server.pid

        server.kill()
        assert not server.is_ready()
        server.start()

        assert client.get("kept") == b"yes"
        assert server.pid != first


def test_its_socket_is_private() -> None:
    with private_server() as server:
        path = Path(server.url.removeprefix("unix://").removesuffix("?db=0"))

        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_deep_folder_gets_a_socket_with_a_short_path(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)

    with embedded(deep) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert len(bytes(socket_path(deep))) < 108


def test_four_racing_launchers_share_one_server() -> None:
    with short_folder() as folder:
        launchers = [launcher(folder) for _ in range(4)]
        try:
            lines = [first_line(process) for process in launchers]

            assert len({url for _, url in lines}) == 1
            assert sorted(pid == "0" for pid, _ in lines) == [False, True, True, True]
        finally:
            for process in launchers:
                end(process)


def test_the_server_ends_when_its_launcher_is_killed_and_keeps_its_data() -> None:
    with short_folder() as folder:
        process = launcher(folder)
        pid, url = first_line(process)
        with redis.Redis.from_url(url) as client:
            client.set("kept", "yes")

        end(process)
        until(lambda: not lives(int(pid)), 10)

        with embedded(folder) as server, redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"yes"


def test_a_server_of_another_launcher_is_left_alone() -> None:
    with private_server() as first:
        folder = Path(first.url.removeprefix("unix://")).parent.parent
        second = EmbeddedRedis(folder)
        second.start()

        second.stop()

        assert second.pid == 0
        assert first.is_ready()
        assert lives(first.pid)
