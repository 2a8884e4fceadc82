"""Is it ready? Cheap probes, each answered within about a second; and the free or taken ports of this machine."""

import http.client
import os
import socket
import time
from pathlib import Path

from sentinel.launch.errors import LaunchError

ALIVE_SECONDS = 30.0  # Celery's worker beats every 2 s, beat sends a tick every second or faster


def http_ok(port: int, path: str, host: str = "127.0.0.1") -> bool:
    """True when GET answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def alive_file(data_dir: Path, name: str) -> Path:
    """The file that a worker or beat touches while it works; one per host, for volumes that hosts share."""
    return data_dir / "run" / f"{name}.{socket.gethostname()}.alive"


def is_alive(path: Path) -> bool:
    """True when the file was touched lately."""
    try:
        return time.time() - path.stat().st_mtime < ALIVE_SECONDS
    except FileNotFoundError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, inheritable by workers. Raises LaunchError with what to do when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise LaunchError(
            f"Cannot listen on {host} port {port}: {reason}."
            " Stop what listens there, or set SENTINEL_PORT to another port."
        ) from error
    listener.set_inheritable(True)
    return listener


def check_port(host: str, port: int) -> None:
    """Raise LaunchError now when the gateway could not listen there later."""
    with listen(host, port) as listener:
        listener.listen(1)


def free_port(preferred: int) -> int:
    """The preferred loopback port, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LaunchError("This machine has no free loopback port.")
