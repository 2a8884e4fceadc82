"""Celery's worker and beat in this process, with a file that shows others that they work."""

import time
from collections.abc import Callable
from pathlib import Path

from celery.bin.celery import celery
from celery.signals import after_task_publish, beat_init, heartbeat_sent, worker_ready

from sentinel.config import Config
from sentinel.launch.probes import alive_file

APPLICATION = "sentinel.celery"
CONCURRENCY = 4  # delivery waits for Zion most of the time; threads share one import of the product
TOUCH_SECONDS = 1.0


def _toucher(path: Path) -> Callable[..., None]:
    """A signal receiver that touches the file, at most once a second."""
    last = [0.0]

    def touch(**_: object) -> None:
        if time.monotonic() - last[0] > TOUCH_SECONDS:
            last[0] = time.monotonic()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch()

    return touch


def run_worker(config: Config, application: str = APPLICATION) -> int:
    """Run a worker until it is told to end; returns the exit code."""
    touch = _toucher(alive_file(config.sentinel_data_dir, "worker"))
    worker_ready.connect(touch, weak=False)
    heartbeat_sent.connect(touch, weak=False)
    options = ["--pool", "threads", "--concurrency", str(CONCURRENCY), "--without-gossip", "--without-mingle"]
    return _celery(config, "worker", application, options)


def run_beat(config: Config, application: str = APPLICATION) -> int:
    """Run the scheduler until it is told to end; returns the exit code."""
    touch = _toucher(alive_file(config.sentinel_data_dir, "beat"))
    beat_init.connect(touch, weak=False)
    after_task_publish.connect(touch, weak=False)
    return _celery(config, "beat", application, [])


def _celery(config: Config, command: str, application: str, options: list[str]) -> int:
    alive = alive_file(config.sentinel_data_dir, command)
    alive.unlink(missing_ok=True)
    arguments = ["--app", application, command, "--loglevel", config.log_level, *options]
    try:
        celery(args=arguments, prog_name="celery", auto_envvar_prefix="CELERY")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(bool(ending.code))
    finally:
        alive.unlink(missing_ok=True)
    return 0
