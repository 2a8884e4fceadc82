"""What `docs/clients.md` says was tried is what is pinned."""

import json
import re

import pytest

from tests import repository


def pinned(file: str, package: str) -> str:
    """The version of a package in a requirements file."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", repository.text(file), re.MULTILINE)
    assert found is not None
    return found[1]


def of_node(package: str) -> str:
    """The version of a package for Node; the lock file has the same."""
    version: str = json.loads(repository.text("tests/journeys/node/package.json"))["dependencies"][package]
    locked = json.loads(repository.text("tests/journeys/node/package-lock.json"))["packages"]
    assert locked[f"node_modules/{package}"]["version"] == version
    return version


@pytest.mark.parametrize(
    ("row", "version"),
    [
        ("`openai` for Python", pinned("requirements-dev.txt", "openai")),
        ("`openai` for Node", of_node("openai")),
        ("LangChain", pinned("tests/journeys/requirements-langchain.txt", "langchain-openai")),
    ],
)
def test_the_versions_that_were_tried_are_those_that_are_pinned(row: str, version: str) -> None:
    assert re.search(
        rf"^\| {re.escape(row)}[^|]*\| {re.escape(version)}\b", repository.text("docs/clients.md"), re.MULTILINE
    )


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in repository.text("tests/journeys/node/package-lock.json")
