"""The servers of one run: those under test pinned to one core; upstreams, Redis and the load to the other.

Started in order, each waited for, ended by their pids. The stand is this process' own: temporary folder, free ports.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import redis

from sentinel.launch.probes import http_ok
from sentinel.launch.process import Child, Spec
from sentinel.launch.redis import embedded
from sentinel.sandbox.cast import METRICS, ZION_KEY
from tests.benchmarks import payloads
from tests.benchmarks.machine import Cores
from tests.redis_server import short_folder
from tests.servers import free_port, is_listening
from tests.wait import until

TOKEN = "bench-token"
_ROOM = 10**12  # of each metric: checked at every call, never reached
_START_SECONDS = 60.0
_WRK = """wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {token}"
"""
_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300; default_type application/json;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-1; uwsgi_temp_path {folder}/{name}-2; scgi_temp_path {folder}/{name}-3;
  {servers}
}}
"""
_STATIC = "server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{answer}'; }} }}"
_PROXY = """
  upstream to_{upstream} {{
    server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 300;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://to_{upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One address that is called, and the process behind it that is measured."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Stand:
    """All that runs. `plain` and `streaming` are by name: the servers under test, and the upstream called directly."""

    plain: Mapping[str, Target]
    streaming: Mapping[str, Target]
    redis_url: str
    script: Path  # the request, as wrk wants to be told

    def forget(self) -> None:
        """Empty Redis between rounds: no worker ships the usage here, and its stream would grow without bound."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushdb()


@contextmanager
def stand(nginx: str, taskset: str, where: Cores) -> Iterator[Stand]:
    """Everything, for as long as the block lasts. Raises LaunchError, AssertionError."""
    os.sched_setaffinity(0, {where.load})  # inherited by all that follows
    with ExitStack() as stack:
        builder = _Builder(stack, stack.enter_context(short_folder()), nginx, (taskset, "-c", str(where.server)))
        yield builder.build()


class _Builder:
    def __init__(self, stack: ExitStack, folder: Path, nginx: str, pinned: tuple[str, ...]) -> None:
        self._stack, self._folder, self._nginx_path, self._pinned = stack, folder, nginx, pinned

    def build(self) -> Stand:
        static, events = free_port(), free_port()
        answer = payloads.answer().decode()
        upstream = self._nginx("static", _STATIC.format(port=static, answer=answer), static, pinned=())
        streamer = self._start("events", (sys.executable, "-m", "tests.benchmarks.upstream", str(events)), events)
        zion = self._zion()
        server = self._stack.enter_context(embedded(self._folder))
        nginx_plain, nginx_stream = free_port(), free_port()
        servers = _PROXY.format(port=nginx_plain, upstream=static) + _PROXY.format(port=nginx_stream, upstream=events)
        proxy = self._nginx("proxy", servers, nginx_plain, pinned=self._pinned)
        governed, governed_stream = (
            self._gateway(f"gateway-{port}", port, zion, server.url) for port in (static, events)
        )
        plain = (governed, Target("nginx", nginx_plain, proxy), self._bare(), Target("direct", static, upstream))
        stream = (governed_stream, Target("nginx", nginx_stream, proxy), Target("direct", events, streamer))
        return Stand(
            {each.name: each for each in plain}, {each.name: each for each in stream}, server.url, self._script()
        )

    def _script(self) -> Path:
        path = self._folder / "request.lua"
        path.write_text(_WRK.format(body=payloads.request().decode(), token=TOKEN), encoding="utf-8")
        return path

    def _start(self, name: str, argv: tuple[str, ...], port: int, env: Mapping[str, str] | None = None) -> int:
        ready = partial(is_listening, port)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        log = self._folder / f"{name}.log"
        child = Child(Spec(name=name, argv=argv, env=environment, ready=ready, log=log))
        child.start()
        self._stack.callback(child.stop)
        until(lambda: child.is_ready() or not child.is_running(), _START_SECONDS, f"{name} starts")
        assert child.is_running(), f"{name} ended: {child.ending()}\n{log.read_text(errors='replace')[-3000:]}"
        return child.pid

    def _nginx(self, name: str, servers: str, port: int, pinned: tuple[str, ...]) -> int:
        config = self._folder / f"{name}.conf"
        config.write_text(_NGINX.format(folder=self._folder, name=name, servers=servers), encoding="utf-8")
        argv = (*pinned, self._nginx_path, "-p", str(self._folder), "-e", "stderr", "-c", str(config))
        return self._start(name, argv, port)

    def _zion(self) -> str:
        port = free_port()
        options = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--no-access-log")
        argv = (sys.executable, "-m", "uvicorn", "sentinel.sandbox.zion:app", *options)
        self._start("zion", argv, port, {"SANDBOX_ZION_KEY": ZION_KEY})
        url = f"http://127.0.0.1:{port}"
        user = {"name": "bench", "token": TOKEN, "limits": dict.fromkeys(METRICS, _ROOM)}
        httpx.post(f"{url}/_control/users", json=user, trust_env=False, timeout=10).raise_for_status()
        return url

    def _bare(self) -> Target:
        """uvicorn with the options of the gateway; one process, as one of its workers is."""
        port = free_port()
        options = ("--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools")
        quiet = ("--log-level", "warning", "--no-access-log", "--no-server-header", "--no-proxy-headers")
        rest = ("--ws", "none", "--lifespan", "off", "--backlog", "2048", "--timeout-keep-alive", "75")
        argv = (*self._pinned, sys.executable, "-m", "uvicorn", "tests.benchmarks.bare:app", *options, *quiet, *rest)
        return Target("bare", port, self._start("bare", argv, port))

    def _gateway(self, name: str, upstream: int, zion: str, redis_url: str) -> Target:
        port, folder = free_port(), self._folder / name
        folder.mkdir()
        settings = {
            "ZION_API_URL": zion,
            "ZION_API_KEY": ZION_KEY,
            "ZION_HONOURS_KEYS": "true",
            "OPENAI_API_URL": f"http://127.0.0.1:{upstream}/v1",
            "OPENAI_API_KEY": "x",
            "REDIS_URL": redis_url,
            **dict.fromkeys(("CACHE_REDIS_URL", "BROKER_URL", "DATABASE_URL", "ZION_PROXY", "UPSTREAM_PROXY"), ""),
            "RATE_LIMIT_REQUESTS": "10000000",
            "MAX_CONCURRENT_CALLS_PER_USER": "10000",
            "REDIS_TIMEOUT_SECONDS": "5",  # whoever else is busy on this machine must not end the run
            "SENTINEL_DATA_DIR": str(folder),
            "SENTINEL_HOST": "127.0.0.1",
            "SENTINEL_PORT": str(port),
            "SENTINEL_WORKERS": "1",
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        }
        argv = (*self._pinned, sys.executable, "-m", "sentinel.launch", "gateway")
        pid = self._start(name, argv, port, settings)
        until(lambda: http_ok(port, "/health/live"), _START_SECONDS, f"{name} answers")
        return Target("gateway", port, pid)
