"""One simulator as a process of a stack, and its control interface."""

import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from sentinel.launch.probes import http_ok
from sentinel.launch.process import Child, Spec
from tests.servers import free_port

# An idle connection is dropped before uvicorn drops it (after 5 s), which would fail the next request.
_LIMITS = httpx.Limits(keepalive_expiry=2.0)


class Simulator:
    """Zion or the provider, on a loopback port."""

    def __init__(self, name: str, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        argv = (sys.executable, "-m", "uvicorn", f"sentinel.sandbox.{name}:app", "--host", "127.0.0.1")
        options = ("--port", str(port), "--backlog", "4096", "--log-level", "warning", "--no-access-log")
        ready, log = partial(http_ok, port, "/healthz"), folder / "log" / f"{name}.log"
        self.child = Child(Spec(name=name, argv=argv + options, ready=ready, log=log))
        # A bare context: loading the system's authorities takes longer than most tests.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client = httpx.Client(base_url=self.url, verify=context, trust_env=False, timeout=10, limits=_LIMITS)

    def ask(self, path: str) -> Any:
        """The JSON that GET answers."""
        return _checked(self._client.get(path))

    def tell(self, path: str, body: Any = None) -> Any:
        """POST JSON; the JSON of the answer."""
        return _checked(self._client.post(path, json=body))

    def clear(self, path: str) -> Any:
        """DELETE; the JSON of the answer."""
        return _checked(self._client.delete(path))

    def close(self) -> None:
        """Close the connections to the control interface."""
        self._client.close()


def _checked(reply: httpx.Response) -> Any:
    assert reply.status_code < 300, f"{reply.status_code} {reply.text}"
    return reply.json()
