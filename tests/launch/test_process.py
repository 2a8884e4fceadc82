"""One supervised process: it ends when told, and nothing of it is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.launch.processes import DEAF, WITH_CHILD, child, lives
from tests.wait import until


def test_a_process_ends_when_asked() -> None:
    process = child()
    process.start()

    assert process.is_ready()
    assert process.stop()
    assert process.ending() == "signal SIGTERM"
    assert not process.is_running()


def test_one_that_does_not_listen_is_killed_after_its_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = child(DEAF, stop_seconds=0.1, log=log)
    process.start()
    until(log.exists)
    until(log.read_text)

    assert not process.stop()
    assert process.ending() == "signal SIGKILL"


def test_impatience_ends_the_waiting_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = child(DEAF, stop_seconds=60, log=log)
    process.start()
    until(log.exists)
    until(log.read_text)

    assert not process.stop(lambda: True)


def test_what_a_dead_process_left_behind_is_ended_when_its_death_is_noticed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = child(WITH_CHILD, log=log)
    process.start()
    until(log.exists)
    grandchild = int(until(log.read_text))

    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.is_running())

    until(lambda: not lives(grandchild))


def test_stopping_twice_or_before_the_start_does_nothing() -> None:
    process = child()

    assert process.stop()
    process.start()
    process.kill()
    process.kill()

    assert process.stop()


def test_no_process_outlives_a_killed_launcher() -> None:
    code = (
        "import signal; from tests.launch.processes import child; process = child(); process.start();"
        "print(process.pid, flush=True); signal.pause()"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    pid = int(launcher.stdout.readline())

    launcher.kill()
    launcher.communicate()

    until(lambda: not lives(pid))
