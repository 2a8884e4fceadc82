"""How the provider's simulator checks single fields, and what it refuses, in OpenAI's words. Pure."""

from collections.abc import Collection, Mapping
from typing import Any


class Refused(Exception):
    """The call is answered with an OpenAI error."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}


def missing(name: str) -> Refused:
    """A parameter that must be there is not."""
    return Refused(400, f"Missing required parameter: '{name}'.", name, "missing_required_parameter")


def wrong_type(name: str, expected: str) -> Refused:
    """A parameter of another type."""
    return Refused(400, f"Invalid type for '{name}': expected {expected}.", name, "invalid_type")


def unsupported(name: str, why: str) -> Refused:
    """A parameter, or a value of it, that this model does not take."""
    return Refused(400, why, name, "unsupported_parameter")


def count(body: Mapping[str, Any], name: str, most: int, least: int = 1) -> int | None:
    """An integer within bounds, None where there is none. Raises Refused."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(400, f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
    if value < least:
        low = f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        raise Refused(400, low, name, "integer_below_min_value")
    if value > most:
        raise Refused(400, f"{name} is too large: {value}. At most {most} is supported.", name, "invalid_value")
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A boolean, False where there is none. Raises Refused."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean")
    return bool(value)


def text(body: Mapping[str, Any], name: str, longest: int | None = None) -> str:
    """A text that must be there and not be empty. Raises Refused."""
    value = body.get(name)
    if value is None or value == "":
        raise missing(name)
    if not isinstance(value, str):
        raise wrong_type(name, "a string")
    if longest is not None and len(value) > longest:
        long = f"Invalid '{name}': string too long. Expected a string with maximum length {longest}."
        raise Refused(400, long, name, "string_above_max_length")
    return value


def one_of(body: Mapping[str, Any], name: str, allowed: Collection[str], default: str) -> str:
    """One of a few words. Raises Refused."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or value not in allowed:
        shown = ", ".join(f"'{each}'" for each in allowed)
        raise Refused(400, f"Invalid value: '{value}'. Supported values are: {shown}.", name, "invalid_value")
    return value
