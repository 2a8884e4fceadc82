"""What is written about the settings is what the settings say."""

from pathlib import Path

from scripts import config_docs
from sentinel.config import BASE_DIR, Config


def test_the_page_and_the_examples_are_current() -> None:
    assert [str(path.relative_to(BASE_DIR)) for path in config_docs.outdated()] == [], "run `make config-docs`"


def test_every_setting_is_described_under_a_heading() -> None:
    grouped = [name for names in config_docs.groups().values() for name in names]

    assert grouped == [*Config.model_fields]
    assert all(config_docs.groups())


def test_the_example_is_a_valid_env_file(tmp_path: Path) -> None:
    uncommented = tmp_path / "env"
    lines = (BASE_DIR / ".env.example").read_text(encoding="utf-8").splitlines()
    uncommented.write_text(
        "\n".join(line.removeprefix("#") for line in lines if "=" in line and not line.startswith("# "))
    )

    Config(_env_file=uncommented)  # type: ignore[call-arg]  # pydantic-settings' own parameter
