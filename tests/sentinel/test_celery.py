"""What beat asks for, and what may travel."""

import sentinel.celery as wiring
from sentinel import config


def test_every_tick_expires_after_ten_seconds_or_more() -> None:
    schedule = wiring.make_app(config.get()).conf.beat_schedule

    assert {entry["task"] for entry in schedule.values()} == {"usage.flush", "usage.sweep", "usage.reap", "usage.prune"}
    assert all(entry["options"]["expires"] >= max(10, entry["schedule"]) for entry in schedule.values())


def test_only_json_travels_and_no_result_is_kept() -> None:
    app = wiring.make_app(config.get())

    assert (app.conf.accept_content, app.conf.task_serializer, app.conf.task_ignore_result) == (["json"], "json", True)
