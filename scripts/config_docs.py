"""Write what people read about the settings, from `sentinel/config.py`: the reference page and the env examples.

`python -m scripts.config_docs` writes the files; `--check` only says which are not current (exit code 1).
"""

import argparse
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from sentinel.config import BASE_DIR, REQUIRED, Config

PAGE_HEAD = """# Configuration

Every setting of Sentinel. This page is made from `sentinel/config.py` by `make config-docs`.

A value comes from the environment, else from the file that `NAME_FILE` names (for secrets: `ZION_API_KEY_FILE`), else
from the stack that `make run` or `make serve` has running in the data folder, else from `.env` beside `manage.py`, else
it is the default. All settings are checked together when a process starts: one message names every problem, and no
secret is ever shown. `manage.py doctor` tries them against the real Zion, provider, Redis and database.
"""
ENV_HEAD = """# Every setting with its default and its meaning. Copy to .env and uncomment what you change; the
# environment wins over this file. Secrets may come from files: ZION_API_KEY_FILE=/run/secrets/zion_api_key
# Made from sentinel/config.py by `make config-docs`.
"""
BOUNDS = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
SIGNS = {Ge: "from", Gt: "above", Le: "to", Lt: "below"}


def groups() -> dict[str, list[str]]:
    """Names of the settings under the heading comment that stands before them in the class."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in inspect.getsource(Config).splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            heading = comment[1]
        elif (setting := re.match(r"    (\w+): ", line)) and setting[1] in Config.model_fields:
            found.setdefault(heading, []).append(setting[1])
    return found


def default_text(name: str) -> str:
    """The default as it is written in an environment file; empty where there is none."""
    value = Config.model_fields[name].default
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value.relative_to(BASE_DIR)) if value.is_relative_to(BASE_DIR) else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def allowed_text(field: FieldInfo) -> str:
    """What values are taken: words, or a type with its bounds."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(field.annotation))
    kinds = {bool: "`true`, `false`", int: "whole number", float: "number", SecretStr: "one line", Path: "folder"}
    bounds = [f"{SIGNS[type(each)]} {getattr(each, BOUNDS[type(each)])}" for each in constraints(field)]
    return " ".join([kinds.get(base_type(field.annotation), "text"), *bounds])


def base_type(annotation: Any) -> Any:
    """The type below `Annotated`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def constraints(field: FieldInfo) -> Iterator[Any]:
    """The bounds of a number."""
    return (each for each in field.metadata if type(each) in BOUNDS)


def page() -> str:
    """docs/configuration.md."""
    parts = [PAGE_HEAD]
    for heading, names in groups().items():
        rows = [row(name) for name in names]
        parts.append(
            "\n".join(
                [f"\n## {heading}\n", "| Variable | Default | Values | Meaning |", "|---|---|---|---|", *rows, ""]
            )
        )
    return "".join(parts)


def row(name: str) -> str:
    """One setting in a table."""
    field = Config.model_fields[name]
    default = f"`{default_text(name)}`" if default_text(name) else "required" if name in REQUIRED else "empty"
    return f"| `{name.upper()}` | {default} | {allowed_text(field)} | {field.description} |"


def env_example() -> str:
    """.env.example and deploy/env.example."""
    lines = [ENV_HEAD]
    for heading, names in groups().items():
        lines.append(f"\n# --- {heading} ---\n")
        for name in names:
            lead = "" if name in REQUIRED else "#"
            lines.append(f"# {Config.model_fields[name].description}\n{lead}{name.upper()}={default_text(name)}\n")
    return "".join(lines)


def documents() -> dict[Path, str]:
    """Every made file and the text that it should have."""
    return {
        BASE_DIR / "docs" / "configuration.md": page(),
        BASE_DIR / ".env.example": env_example(),
        BASE_DIR / "deploy" / "env.example": env_example(),
    }


def outdated() -> list[Path]:
    """The made files that do not say what the settings say."""
    return [path for path, text in documents().items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is not current")
    if parser.parse_args().check:
        stale = outdated()
        sys.stdout.writelines(
            f"{path.relative_to(BASE_DIR)} is not current: run `make config-docs`\n" for path in stale
        )
        return int(bool(stale))
    for path in outdated():
        path.write_text(documents()[path], encoding="utf-8")
        sys.stdout.write(f"wrote {path.relative_to(BASE_DIR)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
