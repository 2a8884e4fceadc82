"""The shell parts: the environment's maker, the list of targets, and the image's steps in a plain folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.config import BASE_DIR, Config

OLD_PYTHON = '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit\nexit 1\n'
WITHOUT_VENV = f'#!/bin/sh\n[ "$2" = "import venv, ensurepip" ] && exit 1\nexec {sys.executable} "$@"\n'
NOT_ROOT = "#!/bin/sh\necho 1000\n"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(*argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command with these variables and no settings of ours."""
    known = {name.upper() for name in Config.model_fields}
    bare = {name: value for name, value in os.environ.items() if name not in known}
    return subprocess.run(
        argv, env=bare | variables, cwd=BASE_DIR, capture_output=True, text=True, timeout=55, check=False
    )


def test_an_old_python_is_one_clear_sentence(tmp_path: Path) -> None:
    python = program(tmp_path / "python3", OLD_PYTHON)

    ended = run("scripts/setup.sh", "runtime", PYTHON=str(python), VENV=str(tmp_path / "venv"))

    assert ended.returncode == 1
    assert ended.stderr == f"Sentinel needs Python 3.11 or newer; {python} is Python 3.9.2.\n"


def test_a_missing_venv_module_is_one_clear_sentence_for_who_is_not_root(tmp_path: Path) -> None:
    python = program(tmp_path / "python3", WITHOUT_VENV)
    program(tmp_path / "bin" / "id", NOT_ROOT)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"

    ended = run("scripts/setup.sh", "runtime", PYTHON=str(python), VENV=str(tmp_path / "venv"), PATH=path)

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "apt-get install python3-venv" in ended.stderr


def test_make_alone_lists_every_target_with_its_purpose() -> None:
    lines = run("make").stdout.splitlines()

    listed = {line.split()[1] for line in lines if len(line.split()) > 2}
    assert listed >= {
        "run",
        "serve",
        "setup",
        "test",
        "check",
        "fmt",
        "cover",
        "bench",
        "image",
        "journeys",
        "up",
        "down",
    }


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's tree in a plain folder, with the packages of this environment."""
    prefix = tmp_path_factory.mktemp("image")
    (prefix / "venv").symlink_to(sys.prefix)
    built = run("deploy/image/build.sh", str(prefix), "application")
    assert built.returncode == 0, built.stderr
    return prefix


def test_the_image_has_the_product_and_its_static_files_but_no_tests(image: Path) -> None:
    found = {path.name for path in (image / "app").iterdir()}

    assert found >= {"manage.py", "sentinel", "gateway", "limits", "usage", "staticfiles"}
    assert (image / "app" / "staticfiles" / "admin").is_dir()
    assert "tests" not in found
    assert not (image / "app" / "var").exists()


def test_the_image_migrates_its_database_and_answers_health_checks(image: Path, tmp_path: Path) -> None:
    settings = {"SENTINEL_DATA_DIR": str(tmp_path), "REDIS_URL": f"unix://{tmp_path}/absent", "SENTINEL_PORT": "1"}
    entrypoint = str(image / "entrypoint.sh")

    migrated = run(entrypoint, "migrate", **settings)

    assert migrated.returncode == 0, migrated.stderr
    assert (tmp_path / "sentinel.sqlite3").exists()
    assert run(entrypoint, "alive", "gateway", **settings).returncode == 1
