"""The doctor: one line per dependency, what to do, and an exit code."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import responses
from django.core.management import CommandError, call_command

from gateway.management.commands import doctor
from sentinel import config
from sentinel.config import Config
from tests.redis_server import private_server

ZION = "https://zion.example"
LIMITS = f"{ZION}/api/v1/limits/external/{doctor.NOBODY}"
MODELS = "https://provider.example/v1/models"


@pytest.fixture
def outside() -> Iterator[responses.RequestsMock]:
    """Zion and the provider as the doctor sees them."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def settings(tmp_path: Path, **more: str) -> Config:
    given = {
        "zion_api_url": ZION,
        "zion_api_key": "zion-secret",
        "openai_api_url": "https://provider.example/v1",
        "openai_api_key": "provider-secret",
        "sentinel_data_dir": str(tmp_path / "data"),
    }
    return Config(_env_file=None, **(given | more))  # type: ignore[call-arg, arg-type]  # checked by pydantic


@pytest.mark.parametrize(
    ("status", "level", "word"),
    [(404, "OK", "takes our key"), (401, "FAIL", "refused our key"), (503, "FAIL", "answered 503")],
)
def test_zion_is_judged_by_its_answer_about_nobody(
    tmp_path: Path, outside: responses.RequestsMock, status: int, level: str, word: str
) -> None:
    outside.get(LIMITS, status=status, json={"success": False})

    found = doctor.check_zion(settings(tmp_path))

    assert found.level == level
    assert word in found.message
    assert outside.calls[0].request.headers["x-api-key"] == "zion-secret"


def test_a_404_of_some_other_server_is_not_zion(tmp_path: Path, outside: responses.RequestsMock) -> None:
    outside.get(LIMITS, status=404, body="<html>not found</html>")

    assert doctor.check_zion(settings(tmp_path)).level == "FAIL"


@pytest.mark.parametrize(("status", "level"), [(200, "OK"), (401, "FAIL"), (404, "FAIL")])
def test_the_provider_is_judged_by_its_list_of_models(
    tmp_path: Path, outside: responses.RequestsMock, status: int, level: str
) -> None:
    outside.get(MODELS, status=status, json={"data": []})

    assert doctor.check_provider(settings(tmp_path)).level == level
    assert outside.calls[0].request.headers["Authorization"] == "Bearer provider-secret"


def test_nothing_is_called_without_a_key(tmp_path: Path, outside: responses.RequestsMock) -> None:
    without = settings(tmp_path, zion_api_key="", openai_api_key="")

    assert doctor.check_zion(without).level == doctor.check_provider(without).level == "FAIL"
    assert len(outside.calls) == 0


def test_the_data_folder_is_made_and_tried(tmp_path: Path) -> None:
    assert doctor.check_data_dir(settings(tmp_path)).level == "OK"


@pytest.mark.django_db(transaction=True)
def test_all_is_well_with_a_running_stack(
    tmp_path: Path, outside: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside.get(LIMITS, status=404, json={})
    outside.get(MODELS, json={"data": []})
    with private_server() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        config.get.cache_clear()

        levels = {found.name: found.level for found in doctor.examine(settings(tmp_path, redis_url=server.url))}

    config.get.cache_clear()
    assert set(levels.values()) == {"OK"}


@pytest.mark.django_db(transaction=True)
def test_a_failed_check_sets_the_exit_code_and_says_what_to_do(
    tmp_path: Path, outside: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del outside  # nothing is reachable: every call is refused
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path / 'absent.sock'}")
    monkeypatch.setenv("SENTINEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ZION_API_URL", ZION)
    monkeypatch.setenv("ZION_API_KEY", "zion-secret")
    monkeypatch.setenv("OPENAI_API_URL", "https://provider.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "provider-secret")
    config.get.cache_clear()
    output = StringIO()

    with pytest.raises(CommandError) as raised:
        call_command("doctor", "--json", stdout=output)

    config.get.cache_clear()
    found = {each["name"]: each for each in json.loads(output.getvalue())}
    assert raised.value.returncode == 1
    assert found["redis"]["level"] == found["zion"]["level"] == found["broker"]["level"] == "FAIL"
    assert "REDIS_URL" in found["redis"]["advice"]
    assert "secret" not in output.getvalue()
