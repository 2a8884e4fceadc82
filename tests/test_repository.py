"""The repository as a whole: layers, sizes, a test for every module, and documents that name what the code declares."""

import re
import statistics
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from sentinel import __version__
from sentinel.config import BASE_DIR, Config
from tests import repository

LONGEST_MODULE = 250
LONGEST_FUNCTION = 40

# Modules without a test file of their own name, and what exercises them.
COVERED_BY: dict[str, str] = {
    "usage/lease.py": "tests/usage/test_recorder.py",
    "manage.py": "tests/launch/test_run.py",
    "gateway/answering.py": "tests/flows/test_endings.py",
    "gateway/hold.py": "tests/flows/test_quota.py",
    "gateway/views/audio.py": "tests/flows/test_media.py",
    "gateway/views/embeddings.py": "tests/flows/test_media.py",
    "gateway/views/images.py": "tests/flows/test_media.py",
    "gateway/views/moderations.py": "tests/flows/test_media.py",
    "gateway/views/passthrough.py": "tests/flows/test_stored.py",
    "gateway/views/responses.py": "tests/flows/test_media.py",
    "gateway/accept.py": "tests/flows/test_guard.py",
    "gateway/access.py": "tests/flows/test_relay.py",
    "gateway/admin.py": "tests/admin/test_users.py",
    "gateway/api.py": "tests/flows/test_guard.py",
    "gateway/apps.py": "tests/sentinel/test_checks.py",
    "gateway/auth.py": "tests/flows/test_identity.py",
    "gateway/call.py": "tests/flows/test_relay.py",
    "gateway/errors.py": "tests/flows/test_openai_client.py",
    "gateway/keys.py": "tests/flows/test_identity.py",
    "gateway/known_tokens.py": "tests/admin/test_users.py",
    "gateway/lockout.py": "tests/admin/test_lockout.py",
    "gateway/openapi/answers.py": "tests/gateway/test_openapi.py",
    "gateway/openapi/bodies.py": "tests/gateway/test_openapi.py",
    "gateway/openapi/document.py": "tests/gateway/test_openapi.py",
    "gateway/openapi/operations.py": "tests/gateway/test_openapi.py",
    "gateway/outcome.py": "tests/flows/test_endings.py",
    "gateway/proxy.py": "tests/flows/test_endings.py",
    "gateway/reporting.py": "tests/flows/test_load.py",
    "gateway/responses.py": "tests/flows/test_relay.py",
    "gateway/runtime.py": "tests/flows/test_kills.py",
    "gateway/throttle.py": "tests/flows/test_identity.py",
    "gateway/user_tables.py": "tests/admin/test_users.py",
    "gateway/upstream.py": "tests/flows/test_endings.py",
    "gateway/views/catalog.py": "tests/flows/test_relay.py",
    "gateway/views/chat.py": "tests/flows/test_openai_client.py",
    "gateway/views/completions.py": "tests/flows/test_openai_client.py",
    "gateway/views/ops.py": "tests/launch/test_run.py",
    "limits/apps.py": "tests/launch/test_run.py",
    "limits/look.py": "tests/admin/test_users.py",
    "limits/management/commands/limits.py": "tests/limits/test_operator_commands.py",
    "limits/management/commands/revoke.py": "tests/limits/test_operator_commands.py",
    "limits/management/operator.py": "tests/limits/test_operator_commands.py",
    "limits/operate.py": "tests/admin/test_users.py",
    "limits/record.py": "tests/limits/test_operator_commands.py",
    "scripts/config_docs.py": "tests/sentinel/test_config_docs.py",
    "sentinel/__init__.py": "tests/test_repository.py",
    "sentinel/asgi.py": "tests/launch/test_run.py",
    "sentinel/formats/en/formats.py": "tests/admin/test_pages.py",
    "sentinel/exceptions.py": "tests/test_repository.py",
    "sentinel/launch/__main__.py": "tests/launch/test_main.py",
    "sentinel/launch/commands.py": "tests/launch/test_run.py",
    "sentinel/launch/database.py": "tests/launch/test_run.py",
    "sentinel/launch/errors.py": "tests/launch/test_main.py",
    "sentinel/launch/stack.py": "tests/launch/test_run.py",
    "sentinel/launch/welcome.py": "tests/launch/test_run.py",
    "sentinel/lib/asgi.py": "tests/flows/test_guard.py",
    "sentinel/lib/background.py": "tests/flows/test_endings.py",
    "sentinel/lib/breaker.py": "tests/usage/test_breaker.py",
    "sentinel/lib/clock.py": "tests/flows/test_relay.py",
    "sentinel/lib/http1/connect.py": "tests/flows/test_endings.py",
    "sentinel/lib/http1/connection.py": "tests/flows/test_endings.py",
    "sentinel/lib/http1/pool.py": "tests/flows/test_relay.py",
    "sentinel/lib/http1/response.py": "tests/flows/test_relay.py",
    "sentinel/lib/logs.py": "tests/zion/test_transport.py",
    "sentinel/lib/metrics.py": "tests/test_repository.py",
    "sentinel/lib/protocol.py": "tests/flows/test_guard.py",
    "sentinel/lib/redis.py": "tests/limits/test_admission.py",
    "sentinel/menu.py": "tests/admin/test_pages.py",
    "sentinel/settings.py": "tests/launch/test_run.py",
    "sentinel/kinds.py": "tests/sentinel/test_config.py",
    "sentinel/options.py": "tests/sentinel/test_config.py",
    "sentinel/sources.py": "tests/sentinel/test_config.py",
    "sentinel/urls.py": "tests/flows/test_guard.py",
    "usage/acting.py": "tests/admin/test_actions.py",
    "usage/apps.py": "tests/launch/test_run.py",
    "usage/batch_acts.py": "tests/admin/test_actions.py",
    "usage/charts.py": "tests/admin/test_dashboard.py",
    "usage/dashboard.py": "tests/admin/test_dashboard.py",
    "usage/document.py": "tests/usage/test_outbox.py",
    "usage/export.py": "tests/usage/test_export_usage.py",
    "usage/keys.py": "tests/limits/test_keys.py",
    "usage/management/commands/flush_usage.py": "tests/usage/test_commands.py",
    "usage/management/commands/replay_usage.py": "tests/usage/test_commands.py",
    "usage/management/commands/usage_summary.py": "tests/usage/test_commands.py",
    "usage/models.py": "tests/usage/test_history.py",
    "usage/parts.py": "tests/usage/test_resolution.py",
    "usage/queue.py": "tests/admin/test_pages.py",
    "usage/queue_pages.py": "tests/admin/test_pages.py",
    "usage/refusals.py": "tests/admin/test_dashboard.py",
    "usage/replay.py": "tests/usage/test_commands.py",
    "usage/show.py": "tests/admin/test_dashboard.py",
    "usage/verify_history.py": "tests/usage/test_verify_ledger.py",
    "usage/verify_read.py": "tests/usage/test_verify_ledger.py",
    "usage/verify_rounds.py": "tests/usage/test_verify_ledger.py",
}


def test_imports_point_downward() -> None:
    config = str(BASE_DIR / "pyproject.toml")

    assert lint_imports(config_filename=config, no_cache=True, no_logo=True) == 0


def test_no_module_is_too_long() -> None:
    lengths = {module: len(repository.text(str(module)).splitlines()) for module in repository.modules()}

    assert {str(module): lines for module, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_functions_are_short() -> None:
    functions = repository.functions()

    assert [function for function in functions if function.lines > LONGEST_FUNCTION] == []
    assert statistics.median(function.lines for function in functions) < 10


def test_every_module_has_its_test() -> None:
    tests = repository.test_files()

    assert [str(module) for module in _modules_with_code() if not _has_test(module, tests)] == []


def test_the_table_of_other_tests_is_true() -> None:
    missing = {
        name: test
        for name, test in COVERED_BY.items()
        if not ((BASE_DIR / name).exists() and (BASE_DIR / test).exists())
    }

    assert missing == {}


def test_every_setting_is_described() -> None:
    page = repository.text("docs/configuration.md")

    assert [name for name in Config.model_fields if f"`{name.upper()}`" not in page] == []


def test_every_metric_is_described() -> None:
    page = repository.text("docs/operations.md")

    names = repository.metric_names()

    assert names
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_no_metric_is_described_that_is_not_there() -> None:
    described = set(re.findall(r"^\| `(sentinel_\w+)`", repository.text("docs/operations.md"), re.MULTILINE))

    assert described == repository.metric_names()


def test_every_error_code_is_described_once() -> None:
    described = re.findall(r"^\| `(\w+)` \|", repository.text("docs/errors.md"), re.MULTILINE)

    assert sorted(described) == sorted(repository.error_codes())


def test_every_redis_key_is_described() -> None:
    described = set(re.findall(r"\| `(\w+\.keys\.\w+)` \|", repository.text("docs/redis.md")))

    assert described == repository.key_functions()


def test_every_command_is_described() -> None:
    page = repository.text("docs/operations.md")
    commands = [module.stem for module in repository.modules() if module.parent.name == "commands"]

    assert [
        name for name in commands if name != "__init__" and f"`{name} " not in page and f"`{name}`" not in page
    ] == []


def test_every_script_is_described() -> None:
    page = repository.text("docs/redis.md")
    scripts = [path.name for path in repository.files() if path.suffix == ".lua"]

    assert scripts
    assert [name for name in scripts if name not in page] == []


def test_the_newest_version_of_the_changelog_is_this_one() -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\]", repository.text("CHANGELOG.md"), re.MULTILINE)

    assert versions[0] == __version__


@pytest.mark.parametrize(("name", "most"), [("README.md", 120), ("ARCHITECTURE.md", 150)])
def test_documents_for_newcomers_are_short(name: str, most: int) -> None:
    assert len(repository.text(name).splitlines()) < most


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{document}: {link}"
        for document in repository.documents()
        for link in repository.links(document)
        if not (BASE_DIR / document.parent / link).exists()
    ]

    assert broken == []


def test_decisions_say_why_what_and_what_it_costs() -> None:
    decisions = sorted(path for path in repository.documents() if path.parent == Path("docs/adr"))
    numbers = [int(path.name.partition("-")[0]) for path in decisions]
    incomplete = [
        path.name
        for path in decisions
        for part in ("## Context", "## Decision", "## Consequences", "Bad:")
        if part not in repository.text(str(path))
    ]

    assert numbers == list(range(1, len(decisions) + 1))
    assert incomplete == []


def test_every_dependency_has_a_reason() -> None:
    page = repository.text("docs/adr/0013-dependencies.md")
    names = repository.requirements("requirements.txt") | repository.requirements("requirements-dev.txt")

    assert [name for name in sorted(names) if name not in page] == []


def test_no_file_names_a_machine() -> None:
    # Put together here, or this file would name them itself.
    folders = "|".join(f"/{name}/" for name in ("home", "root", "Users", "work"))
    hosts = "|".join(("index-" + "url", "files.python" + "hosted", r"\b\d+\.\d+\.\d+\.\d+:\d+/(?:simple|pypi)"))
    pattern = re.compile(rf"(?<![\w.~-])(?:{folders})\w|{hosts}")
    guilty = [str(path) for path in repository.files() if pattern.search(_content(path))]

    assert guilty == []


def _modules_with_code() -> list[Path]:
    """All but empty files and those that only say what their package is for."""
    return [module for module in repository.modules() if len(repository.tree(module).body) > 1]


def _has_test(module: Path, tests: list[Path]) -> bool:
    """Whether a test is named after the module (`test_sse.py`, `test_sse_splits.py`), or the table names one."""
    name = module.parent.name if module.stem in {"__init__", "__main__"} else module.stem
    own = re.compile(rf"test_{re.escape(name.strip('_'))}(?:_\w+)?\.py")
    folders = set(module.parts[:-1]) - {"sentinel"} or {"sentinel"}
    if "gateway" in folders:
        folders.add("flows")
    is_near = any(own.fullmatch(test.name) and folders.intersection(test.parts) for test in tests)
    return is_near or str(module) in COVERED_BY


def _content(path: Path) -> str:
    try:
        return (BASE_DIR / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
