"""Real servers for tests: a child process per ASGI application, on a free loopback port, ended by its pid."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self

import httpx

from tests.wait import until

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Whether a connection to this loopback port is accepted."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Served:
    """One `python -m uvicorn` child: `with Served("package.module:app") as server: ... server.url`.

    `env` is added to this process' environment. What the child wrote to its standard error is in `log()`.
    """

    def __init__(
        self, app: str, *, env: Mapping[str, str] | None = None, args: Sequence[str] = (), port: int | None = None
    ) -> None:
        self.app = app
        self.env = {**os.environ, **(env or {})}
        self.args = list(args)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the child and wait until its port is open. Raises AssertionError with its log if it ends first."""
        command = [sys.executable, "-m", "uvicorn", self.app, "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--log-level", "warning", "--no-access-log", *self.args]
        self.process = subprocess.Popen(command, env=self.env, stdout=self._log, stderr=self._log)
        until(lambda: self._has_ended() or is_listening(self.port), _START_SECONDS, f"{self.app} listens")
        if self._has_ended():
            raise AssertionError(f"{self.app} ended at once:\n{self.log()}")
        return self

    def stop(self) -> None:
        """End the child, first politely."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(_STOP_SECONDS)
            self.process = None
        self._log.close()

    def log(self) -> str:
        """All that the child printed so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def ask(self, path: str) -> Any:
        """The JSON that GET `path` answers."""
        return _checked(httpx.get(self.url + path, trust_env=False, timeout=10))

    def tell(self, path: str, body: Any = None) -> Any:
        """POST `body` as JSON to `path`; the JSON of the reply."""
        return _checked(httpx.post(self.url + path, json=body, trust_env=False, timeout=10))

    def clear(self, path: str) -> Any:
        """DELETE `path`; the JSON of the reply."""
        return _checked(httpx.delete(self.url + path, trust_env=False, timeout=10))

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _checked(reply: httpx.Response) -> Any:
    assert reply.status_code < 300, f"{reply.status_code} {reply.text}"
    return reply.json()
