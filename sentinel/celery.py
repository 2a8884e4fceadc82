"""The Celery application: ticks by beat, tasks in workers. No usage travels through the broker.

Every tick expires after ten seconds or more (a worker compares with its own clock), so a stopped worker finds no heap.
"""

import logging
import os
from typing import Any

from celery import Celery, signals

from sentinel import config
from sentinel.lib import logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentinel.settings")

TICK_EXPIRES_SECONDS = 10
REAP_SECONDS = 5.0
PRUNE_SECONDS = 3600.0
_BROKER_WAIT_SECONDS = 5.0  # longer than the blocking read of a worker, which lasts a second


def _tick(task: str, seconds: float) -> dict[str, Any]:
    return {"task": task, "schedule": seconds, "options": {"expires": max(TICK_EXPIRES_SECONDS, seconds)}}


def make_app(settings: config.Config) -> Celery:
    """The application for these settings; connects to nothing yet."""
    made = Celery("sentinel", broker=settings.celery_broker_url)
    made.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_default_queue="sentinel",
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=_BROKER_WAIT_SECONDS,
        broker_transport_options={
            "global_keyprefix": f"{settings.redis_key_prefix}celery:",
            "socket_connect_timeout": _BROKER_WAIT_SECONDS,
            "socket_timeout": _BROKER_WAIT_SECONDS,
            "socket_keepalive": True,
        },
        beat_schedule={
            "flush": _tick("usage.flush", settings.flush_interval_seconds),
            "sweep": _tick("usage.sweep", settings.retry_sweep_seconds),
            "reap": _tick("usage.reap", REAP_SECONDS),
            "prune": _tick("usage.prune", PRUNE_SECONDS),
        },
        beat_schedule_filename=str(settings.sentinel_data_dir / "celerybeat-schedule"),
        timezone="UTC",
    )
    made.autodiscover_tasks(["usage"])
    return made


def _configure_logging(**_signal: Any) -> None:
    logs.configure(config.get().log_level)
    # A line or three for each tick, twice a second, would bury everything else.
    for chatty in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


signals.setup_logging.connect(_configure_logging)
app = make_app(config.get())
