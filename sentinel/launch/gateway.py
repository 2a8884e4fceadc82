"""The gateway's processes: uvicorn's supervisor, which replaces a worker that dies, and keeps the socket meanwhile."""

import math
import os
import signal
import sys
from multiprocessing import parent_process
from pathlib import Path

import uvicorn
import uvloop
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from sentinel.config import Config
from sentinel.launch import metrics
from sentinel.launch.probes import listen
from sentinel.launch.process import follow_parent

APPLICATION = "sentinel.asgi:application"
PROTOCOL = "sentinel.lib.protocol:GuardedProtocol"
KEEP_ALIVE_SECONDS = 75  # longer than any proxy in front keeps an idle connection
BACKLOG = 2048
HUNG_SECONDS = 15  # a worker that answers no ping for this long is replaced; counting a huge prompt takes far less
GRACE_MARGIN_SECONDS = 2  # the application ends its calls first, uvicorn cuts what is left


class Supervisor(Multiprocess):
    """uvicorn's, but for its copy of each worker's end of the pipe: with it, a worker that is killed in the middle of a
    ping would be missed for HUNG_SECONDS; without, the pipe says at once that nobody is there."""

    def init_processes(self) -> None:
        super().init_processes()
        self._let_go()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        self._let_go()

    def _let_go(self) -> None:
        for process in self.processes:
            process.child_conn.close()


def worker_loop() -> uvloop.Loop:
    """The event loop of one worker; runs first in it, ties it to the supervisor's life, and claims its disk."""
    if parent := parent_process():
        follow_parent(parent.pid or os.getppid(), signal.SIGTERM)
    if folder := os.environ.get(metrics.VARIABLE):
        try:
            metrics.claim(Path(folder))
        except OSError as error:
            sys.stderr.write(f"Metrics cannot be written: {error}\n")
            sys.exit(STARTUP_FAILURE)
    return uvloop.new_event_loop()


def workers(config: Config) -> int:
    """How many workers: as configured, else one per core that we may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return config.sentinel_workers or cores or 1


def run(config: Config, application: str = APPLICATION, protocol: str = PROTOCOL) -> int:
    """Serve until told to end; returns the exit code. Raises LaunchError when the port is taken."""
    server = uvicorn.Config(
        application,
        loop="sentinel.launch.gateway:worker_loop",
        http=protocol,
        ws="none",
        lifespan="on",
        workers=workers(config),
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(config.shutdown_grace_seconds) + GRACE_MARGIN_SECONDS,
        timeout_worker_healthcheck=HUNG_SECONDS,
    )
    with listen(config.sentinel_host, config.sentinel_port) as listener:
        supervisor = Supervisor(server, [listener])
        supervisor.run()
    return int(any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes))
