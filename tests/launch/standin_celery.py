"""A bare Celery application in place of the product; run as a program it is a worker or beat."""

import sys

from celery import Celery

from sentinel import config
from sentinel.launch import background

app = Celery("standin", broker=config.get().celery_broker_url)
app.conf.beat_schedule = {"tick": {"task": "standin.tick", "schedule": 0.2, "options": {"expires": 10}}}
app.conf.beat_schedule_filename = str(config.get().sentinel_data_dir / "schedule")
app.conf.worker_send_task_events = False


@app.task(name="standin.tick", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def tick() -> None:
    """Leave a trace that a tick came through the broker."""
    (config.get().sentinel_data_dir / "ticked").touch()


if __name__ == "__main__":
    run = {"worker": background.run_worker, "beat": background.run_beat}[sys.argv[1]]
    sys.exit(run(config.get(), "tests.launch.standin_celery"))
