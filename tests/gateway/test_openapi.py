"""The API document: every route is described, and nothing is that is not there."""

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from gateway.api import api
from gateway.openapi import operations
from gateway.openapi.document import document, routes
from sentinel import exceptions
from sentinel.exceptions import CallError

ERRORS = {400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 500, 502, 503, 504}
OPERATIONS = "/health", "/health/live", "/health/ready", "/metrics"


@cache
def whole() -> dict[str, Any]:
    return document(api)


def described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every operation."""
    for path, methods in whole()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def governed() -> list[tuple[str, str, dict[str, Any]]]:
    return [found for found in described() if found[0] not in OPERATIONS]


def references(part: Any) -> Iterator[str]:
    """Everything that a part of the document refers to."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from references(item)


def target(reference: str) -> Any:
    found: Any = whole()
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_every_route_is_described() -> None:
    assert [key for key, _ in routes(api) if key not in operations.OPERATIONS] == []


def test_every_description_has_its_route() -> None:
    assert operations.OPERATIONS.keys() - {key for key, _ in routes(api)} == set()


def test_operations_beside_the_api_are_described() -> None:
    assert set(OPERATIONS) <= whole()["paths"].keys()


def test_every_parameter_of_a_path_has_its_pattern() -> None:
    parameters = [each for _, _, operation in governed() for each in operation["parameters"] if each["in"] == "path"]

    assert parameters
    assert [each["name"] for each in parameters if "pattern" not in each["schema"]] == []


def test_names_of_operations_are_unique_and_short() -> None:
    names = [operation["operationId"] for _, _, operation in described()]

    assert len(set(names)) == len(names)
    assert "create_chat_completion" in names


def test_calls_that_the_provider_answers_name_every_error() -> None:
    carried = [operation for path, _, operation in governed() if path != "/v1/usage"]

    assert len(carried) >= 4
    for operation in carried:
        assert {str(status) for status in ERRORS} <= operation["responses"].keys()


@pytest.mark.parametrize(
    "status", sorted({kind.status for _, kind in inspect.getmembers(exceptions, inspect.isclass)
                      if issubclass(kind, CallError)})
)  # fmt: skip
def test_each_of_our_errors_is_described_in_the_one_shape(status: int) -> None:
    content = whole()["components"]["responses"][f"Error{status}"]["content"]

    assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def test_whatever_is_referred_to_is_there() -> None:
    found = set(references(whole()))

    assert len(found) > 20
    for reference in found:
        assert target(reference)


def test_a_token_is_asked_for_but_by_operations() -> None:
    assert whole()["security"] == [{"token": []}]
    assert whole()["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert [path for path, _, operation in described() if operation.get("security") is not None] == [*OPERATIONS]


def test_streams_are_server_sent_events() -> None:
    streamed = whole()["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]

    assert {"application/json", "text/event-stream"} == streamed.keys()


def test_bodies_take_further_members() -> None:
    schemas = [
        media["schema"]
        for entry in operations.OPERATIONS.values()
        for media in entry.get("requestBody", {}).get("content", {}).values()
    ]

    assert len(schemas) >= 10
    assert [schema for schema in schemas if "additionalProperties" in schema] == []
    assert all(set(schema["required"]) <= schema["properties"].keys() for schema in schemas)


def test_the_document_shares_nothing_with_the_tables() -> None:
    changed = document(api)
    changed["paths"]["/v1/models"]["get"]["responses"].clear()

    assert document(api) == whole()
