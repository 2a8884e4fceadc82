"""The settings: every problem named at once, secrets never shown, sources in their order."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import config
from sentinel.config import Config
from sentinel.exceptions import ConfigError

REQUIRED = {"ZION_API_URL": "https://zion.example", "ZION_API_KEY": "zk", "OPENAI_API_KEY": "ok"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SENTINEL_DATA_DIR", str(tmp_path))


def names() -> Iterator[str]:
    settings = {field.upper() for field in Config.model_fields}
    return (name for name in os.environ if name in settings or name.removesuffix("_FILE") in settings)


def problems(env_file: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        config.load(env_file)
    return raised.value.problems


def test_the_defaults_are_valid_by_themselves() -> None:
    found = config.load(None)

    assert found.redis_url == found.cache_url == found.celery_broker_url == "redis://localhost:6379"


def test_every_missing_setting_is_named() -> None:
    assert [problem.split(":")[0] for problem in config.missing(config.load(None))] == [*REQUIRED]


def test_a_complete_configuration_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)

    assert config.missing(config.load(None)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ZION_API_URL", "zion.example"),
        ("ZION_API_URL", "https://user:pass@zion.example"),
        ("REDIS_URL", "http://localhost"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://sentinel:unquoted#password@db/sentinel"),
        ("SENTINEL_PORT", "0"),
        ("SENTINEL_PORT", "many"),
        ("QUOTA_MODE", "strict"),
        ("RATE_LIMIT_REQUESTS", "-1"),
        ("ZION_HONOURS_KEYS", "perhaps"),
        ("OPENAI_API_KEY", "two\nlines"),
        ("LOG_LEVEL", "loud"),
        ("CORS_ORIGINS", "https://app.example.com/path"),
    ],
)
def test_a_malformed_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for required, good in REQUIRED.items():
        monkeypatch.setenv(required, good)
    monkeypatch.setenv(name, value)

    found = problems()

    assert [problem.split(":")[0] for problem in found] == [name]


def test_malformed_and_missing_settings_are_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINEL_PORT", "many")
    monkeypatch.setenv("QUOTA_MODE", "strict")
    monkeypatch.setenv("ZION_API_URL", "zion.example")

    with pytest.raises(ConfigError) as raised:
        config.load(None)

    message = str(raised.value)
    assert "5 problem(s)" in message
    for name in ("SENTINEL_PORT", "QUOTA_MODE", "ZION_API_URL", "ZION_API_KEY", "OPENAI_API_KEY"):
        assert message.count(f"- {name}:") == 1


def test_settings_that_do_not_fit_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_DRAIN_SECONDS", "100")
    monkeypatch.setenv("SETTLED_MEMORY_SECONDS", "600")

    found = " ".join(config.missing(config.load(None)))

    assert "STREAM_DRAIN_SECONDS" in found
    assert "SETTLED_MEMORY_SECONDS" in found


def test_a_secret_is_never_in_a_message_or_a_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZION_API_KEY", "well-kept-secret")
    monkeypatch.setenv("OPENAI_API_KEY", " well-kept-secret\n")
    monkeypatch.setenv("ZION_API_URL", "https://well-kept-secret@zion")
    monkeypatch.setenv("DATABASE_URL", "postgres://sentinel@well-kept-secret:well-kept-secret/x")
    assert "well-kept" not in " ".join(problems())

    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("ZION_API_URL")
    monkeypatch.delenv("DATABASE_URL")
    assert "well-kept" not in repr(config.load(None)) + str(config.load(None))


def test_a_file_gives_a_secret_without_its_last_line_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("ZION_API_KEY_FILE", str(tmp_path / "key"))

    assert config.load(None).zion_api_key.get_secret_value() == "from-file"


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZION_API_KEY_FILE", str(tmp_path / "absent"))

    assert str(tmp_path / "absent") in problems()[0]


def test_a_secret_file_of_binary_content_is_one_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("ZION_API_KEY_FILE", str(tmp_path / "key"))

    assert "UTF-8" in problems()[0]


def test_sources_win_in_their_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("ZION_API_KEY=dotenv\n")
    assert config.load(env_file).zion_api_key.get_secret_value() == "dotenv"

    (tmp_path / "key").write_text("file")
    monkeypatch.setenv("ZION_API_KEY_FILE", str(tmp_path / "key"))
    assert config.load(env_file).zion_api_key.get_secret_value() == "file"

    monkeypatch.setenv("ZION_API_KEY", "environment")
    assert config.load(env_file).zion_api_key.get_secret_value() == "environment"


def test_celery_gets_its_own_spelling_of_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "unix:///run/redis.sock?db=2")

    assert config.load(None).celery_broker_url == "redis+socket:///run/redis.sock?virtual_host=2"


def test_a_data_folder_is_made_and_one_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENTINEL_DATA_DIR", str(tmp_path / "deep" / "down"))
    assert config.data_dir(config.load(None)).is_dir()

    (tmp_path / "file").touch()
    monkeypatch.setenv("SENTINEL_DATA_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match=r"SENTINEL_DATA_DIR: .*/file/below cannot be made: Not a directory"):
        config.data_dir(config.load(None))


@pytest.mark.parametrize("command", ["manage.py doctor", "-m sentinel.launch serve", "-m sentinel.launch worker"])
def test_no_command_answers_a_data_folder_that_cannot_be_with_a_traceback(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    environment = {**os.environ, **REQUIRED, "SENTINEL_DATA_DIR": str(tmp_path / "file")}

    argv = [sys.executable, *command.split()]
    done = subprocess.run(argv, cwd=config.BASE_DIR, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "SENTINEL_DATA_DIR" in done.stderr
    assert "Traceback" not in done.stderr
