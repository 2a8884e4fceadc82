"""Kinds of values that settings have: each is checked as it is read, and says what is wrong with it."""

from typing import Annotated
from urllib.parse import urlsplit

import dj_database_url
from pydantic import AfterValidator, Field, SecretStr

from sentinel import origins, passthrough


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("must be an http or https URL with a host")
    if parts.username or parts.password:
        raise ValueError("must not carry a user or password")
    if parts.query or parts.fragment:
        raise ValueError("must not carry a query or a fragment")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("must have a port below 65536, or none") from None
    return value.rstrip("/")


def _redis_url(value: str) -> str:
    if value and urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must be a redis://, rediss:// or unix:// URL")
    return value


def _database_url(value: str) -> str:
    try:
        _ = value and dj_database_url.parse(value)
    except ValueError:  # its text may show a part of the password
        raise ValueError("must be a URL as postgres://user:password@host/name, its parts percent-encoded") from None
    return value


def _one_line(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != text.strip() or not text.isprintable():
        raise ValueError("must be one line without spaces around it")
    return value


def _header_value(value: str) -> str:
    if value and not (value.isascii() and value.isprintable()):
        raise ValueError("must be printable ASCII on one line")
    return value


def _templates(value: str) -> str:
    passthrough.parse(value)
    return value


Templates = Annotated[str, AfterValidator(_templates)]
OneLine = Annotated[str, AfterValidator(_header_value)]
Origins = Annotated[str, AfterValidator(origins.checked)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Secret = Annotated[SecretStr, AfterValidator(_one_line)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Bytes = Annotated[int, Field(ge=1024, le=2**31)]
