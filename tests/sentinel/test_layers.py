"""What the import contracts in pyproject.toml cannot say, because they see other packages only as a whole."""

import ast
from collections.abc import Iterator
from pathlib import Path

from sentinel.config import BASE_DIR


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_request_path_never_imports_the_database() -> None:
    files = [path for app in ("gateway", "limits") for path in (BASE_DIR / app).rglob("*.py")]
    on_path = [path for path in files if "management" not in path.parts]

    guilty = [path.name for path in on_path if any(name.startswith("django.db") for name in imported(path))]

    assert guilty == []
