"""The run file: believed only while its launcher lives."""

import stat
from pathlib import Path

import pytest

from sentinel import config
from sentinel.launch import runfile
from sentinel.launch.errors import LaunchError
from sentinel.sources import read_run_file

RUNNING = {"pid": 1, "url": "http://127.0.0.1:8080", "settings": {"redis_url": "unix:///tmp/r.sock?db=0"}}


@pytest.fixture(autouse=True)
def _no_redis_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("SENTINEL_DATA_DIR", str(tmp_path))


def test_commands_use_the_redis_of_the_stack_that_runs(tmp_path: Path) -> None:
    with runfile.hold(tmp_path) as file:
        file.write(RUNNING)

        found = config.load(None)

    assert found.redis_url == "unix:///tmp/r.sock?db=0"
    assert found.celery_broker_url == "redis+socket:///tmp/r.sock?virtual_host=0"


def test_a_redis_named_in_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    with runfile.hold(tmp_path) as file:
        file.write(RUNNING)

        assert config.load(None).redis_url == "redis://elsewhere"


def test_the_data_folder_may_be_named_in_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTINEL_DATA_DIR")
    env_file = tmp_path / "settings.env"
    env_file.write_text(f"SENTINEL_DATA_DIR={tmp_path}\n")
    with runfile.hold(tmp_path) as file:
        file.write(RUNNING)

        assert config.load(env_file).redis_url == RUNNING["settings"]["redis_url"]  # type: ignore[index]  # our own literal


def test_a_file_left_by_a_killed_launcher_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"settings": {"redis_url": "redis://gone"}}')

    assert read_run_file(tmp_path) == {}
    assert config.load(None).redis_url == "redis://localhost:6379"


def test_a_half_written_file_is_as_if_nothing_ran(tmp_path: Path) -> None:
    with runfile.hold(tmp_path):
        (tmp_path / "run.json").write_text('{"settings": ')

        assert read_run_file(tmp_path) == {}


def test_a_second_stack_in_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    with (
        runfile.hold(tmp_path) as file,
    ):
        file.write(RUNNING)

        with (
            pytest.raises(LaunchError, match=r"already runs from .*pid 1, http://127.0.0.1:8080.*SENTINEL_DATA_DIR"),
            runfile.hold(tmp_path),
        ):
            pass


def test_only_its_owner_may_read_it_and_it_goes_with_the_stack(tmp_path: Path) -> None:
    with runfile.hold(tmp_path):
        assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600

    assert not (tmp_path / "run.json").exists()


def test_a_shorter_text_replaces_a_longer_one(tmp_path: Path) -> None:
    with runfile.hold(tmp_path) as file:
        file.write({"settings": {"a": "x" * 1000}})
        file.write({"settings": {}})

        assert read_run_file(tmp_path) == {"settings": {}}


def test_the_ledgers_of_sandbox_and_service_never_mix(tmp_path: Path) -> None:
    runfile.claim(tmp_path, "sandbox")
    runfile.claim(tmp_path, "sandbox")

    with pytest.raises(LaunchError, match="must not mix"):
        runfile.claim(tmp_path, "service")
