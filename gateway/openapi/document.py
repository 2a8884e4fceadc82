"""The whole API document: django-ninja's reading of the routes, with what the tables of this package add."""

from collections.abc import Iterator
from typing import Any

import orjson
from ninja import NinjaAPI
from ninja.operation import Operation

from gateway.openapi import answers, operations

PREFIX = "/v1"
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "The user's token from the governance service."},
    "metrics": {"type": "http", "scheme": "bearer", "description": "METRICS_TOKEN, where the installation sets it."},
}


def routes(api: NinjaAPI) -> Iterator[tuple[str, Operation]]:
    """Every operation with its key in the tables: method and path below /v1."""
    for router in api._get_bound_routers():
        for path, view in router.path_operations.items():
            for operation in view.operations:
                for method in operation.methods:
                    yield f"{method} {path}", operation


def render(api: NinjaAPI) -> bytes:
    """The document as JSON."""
    return orjson.dumps(document(api))


def document(api: NinjaAPI) -> dict[str, Any]:
    """The document. Operations that no table describes have only what django-ninja sees of them."""
    for key, operation in routes(api):
        operation.openapi_extra = operations.OPERATIONS.get(key)
    # Through JSON: ninja counts statuses in numbers, and its document must not share parts with our tables.
    found: dict[str, Any] = orjson.loads(
        orjson.dumps(dict(api.get_openapi_schema(path_prefix=PREFIX)), option=orjson.OPT_NON_STR_KEYS)
    )
    for path in found["paths"].values():
        for operation in path.values():
            _describe_parameters(operation)
    found["paths"] |= operations.BESIDE
    found["components"] = {**answers.components(), "securitySchemes": _SECURITY}
    found["security"] = [{"token": []}]
    return found


def _describe_parameters(operation: dict[str, Any]) -> None:
    for parameter in operation["parameters"]:
        parameter |= operations.PARAMETERS.get(parameter["name"], {})
