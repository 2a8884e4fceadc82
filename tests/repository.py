"""What tests about the repository read: its modules, functions, documents, and the words that the code declares."""

import ast
import gc
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sentinel.config import BASE_DIR

PACKAGES = ("sentinel", "gateway", "limits", "usage", "scripts")
_NOT_OURS = {"migrations", "__pycache__"}
_GENERATED = {".venv", ".foreign", "var", ".git", "staticfiles", ".hypothesis"}
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]+\])?==", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the product and its length in lines, decorators left out."""

    name: str
    lines: int


def modules() -> list[Path]:
    """Every Python module of the product, relative to the repository; migrations are written by Django."""
    found = [BASE_DIR / "manage.py", *(path for package in PACKAGES for path in (BASE_DIR / package).rglob("*.py"))]
    return sorted(path.relative_to(BASE_DIR) for path in found if not _NOT_OURS.intersection(path.parts))


@cache
def tree(module: Path) -> ast.Module:
    """The parsed module.

    No garbage is collected meanwhile: a finalizer that prints a traceback parses its lines, and Python before 3.11.5
    takes a parse within a parse for an error of its own (CPython 106905).
    """
    source = (BASE_DIR / module).read_text(encoding="utf-8")
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()


def functions() -> list[Function]:
    """Every function and method of the product."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        Function(f"{module}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, kinds)
    ]


def text(name: str) -> str:
    """A document, by its path in the repository."""
    return (BASE_DIR / name).read_text(encoding="utf-8")


def documents() -> list[Path]:
    """Every Markdown document, relative to the repository."""
    return sorted(path for path in files() if path.suffix == ".md")


def links(document: Path) -> Iterator[str]:
    """Where the document points inside the repository."""
    yield from _LINK.findall(text(str(document)))


def files() -> list[Path]:
    """The files that belong to the repository: as git says, or, outside of git, all but what is generated."""
    if (BASE_DIR / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=True).stdout.splitlines()
        return [Path(name) for name in listed if (BASE_DIR / name).is_file()]
    paths = (path.relative_to(BASE_DIR) for path in BASE_DIR.rglob("*") if path.is_file())
    return [path for path in paths if not _GENERATED.intersection(path.parts)]


def test_files() -> list[Path]:
    """Every test module, relative to the repository."""
    return sorted(path.relative_to(BASE_DIR) for path in (BASE_DIR / "tests").rglob("test_*.py"))


def metric_names() -> set[str]:
    """The metrics that `sentinel/lib/metrics.py` declares."""
    return {word for word in _strings(tree(Path("sentinel/lib/metrics.py"))) if re.fullmatch(r"sentinel_[a-z_]+", word)}


def error_codes() -> set[str]:
    """Every error code of ours: of the classes, of raises that name another, of the protocol before ASGI."""
    product = [module for module in modules() if not {"sandbox", "launch", "management"}.intersection(module.parts)]
    codes = set(_class_codes(tree(Path("sentinel/exceptions.py"))))
    for module in product:
        codes.update(_named_codes(tree(module)))
    return codes


def key_functions() -> set[str]:
    """Every function that builds a Redis key, as `app.keys.name`."""
    found = set()
    for app in ("gateway", "limits", "usage"):
        for node in tree(Path(app, "keys.py")).body:
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node, clean=True):
                found.add(f"{app}.keys.{node.name}")
    return found - {"limits.keys.shard_of", "limits.keys.tagged"}


def requirements(name: str) -> set[str]:
    """The packages that a requirements file pins."""
    return set(_REQUIREMENT.findall(text(name)))


def _strings(module: ast.AST) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _class_codes(module: ast.Module) -> Iterator[str]:
    """`code = "..."` in a class, with or without its type."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        is_code = any(isinstance(target, ast.Name) and target.id == "code" for target in targets)
        if is_code and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def _named_codes(module: ast.Module) -> Iterator[str]:
    """`code="..."` of any call, and the second argument of `Refused(status, code, ...)` and `_refuse(status, ...)`."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called == "ValidationError":  # Django's, of a form
            continue
        named += node.args[1:2] if called in {"Refused", "_refuse"} else []
        yield from (value.value for value in named if isinstance(value, ast.Constant) and isinstance(value.value, str))
