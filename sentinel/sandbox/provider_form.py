"""What a call brings, as JSON or as multipart: fields by their names, and files. Parsed strictly. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from sentinel.sandbox.provider_checks import Refused

_CRLF = b"\r\n"
_LONGEST_BOUNDARY = 70  # RFC 2046, 5.1.1
_NUMBERS = frozenset({"n", "partial_images", "output_compression"})
_PARAMETER = re.compile(r';\s*(\w+)="([^"]*)"')
_DISPOSITION = re.compile(rf"form-data(?:{_PARAMETER.pattern})+")
_FLAGS: Mapping[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body. A part with a filename is a file."""

    name: str
    filename: str | None
    content_type: str | None
    data: bytes

    def as_json(self) -> dict[str, object]:
        """What tests compare: whether the bytes arrived as they were sent."""
        return {
            "name": self.name,
            "filename": self.filename,
            "content_type": self.content_type,
            "bytes": len(self.data),
            "sha256": sha256(self.data).hexdigest(),
        }


@dataclass(frozen=True, slots=True)
class Form:
    """A body that was understood."""

    fields: Mapping[str, Any]
    parts: Sequence[Part] = ()

    def files(self, *names: str) -> list[Part]:
        """The files of these names, in their order."""
        return [part for part in self.parts if part.filename is not None and part.name in names]

    def all(self, name: str) -> list[str]:
        """Every value of a field that may come more than once."""
        return [part.data.decode() for part in self.parts if part.filename is None and part.name == name]


def read_json(body: bytes) -> Form:
    """A JSON object. Raises Refused."""
    try:
        fields = orjson.loads(body)
    except ValueError as error:
        raise Refused(400, "We could not parse the JSON body of your request.") from error
    if not isinstance(fields, dict):
        raise Refused(400, "The body of your request is not a JSON object.")
    return Form(fields)


def read_multipart(content_type: str, body: bytes) -> Form:
    """A multipart form. Raises Refused."""
    try:
        parts = parse_multipart(content_type, body)
        fields = {part.name: _value(part) for part in parts if part.filename is None}
    except ValueError as error:
        raise Refused(400, f"Could not parse multipart form: {error}.") from error
    return Form(fields, parts)


def _value(part: Part) -> object:
    """A field as JSON would have brought it, where its name says what it is."""
    text = part.data.decode()
    if part.name in _NUMBERS and text.isdecimal():
        return int(text)
    return _FLAGS.get(text, text) if part.name == "stream" else text


def parse_multipart(content_type: str, body: bytes) -> tuple[Part, ...]:
    """The parts in their order. Raises ValueError for whatever RFC 7578 does not provide for."""
    delimiter = _CRLF + b"--" + _boundary(content_type)
    opening, *sections = (_CRLF + body).split(delimiter)
    if opening or len(sections) < 2:
        raise ValueError("the body does not begin with its boundary and end with it")
    if sections.pop() not in {b"--", b"--" + _CRLF}:
        raise ValueError("the body does not end with its closing boundary")
    return tuple(map(_part, sections))


def _boundary(content_type: str) -> bytes:
    kind, *parameters = (each.strip() for each in content_type.split(";"))
    found = [value for name, _, value in (each.partition("=") for each in parameters) if name.lower() == "boundary"]
    if kind.lower() != "multipart/form-data" or len(found) != 1:
        raise ValueError("the content type is not multipart/form-data with one boundary")
    boundary = found[0].removeprefix('"').removesuffix('"')
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise ValueError("the boundary has the wrong length")
    return boundary.encode("latin-1")


def _part(section: bytes) -> Part:
    head, separator, data = section.removeprefix(_CRLF).partition(_CRLF * 2)
    if not section.startswith(_CRLF) or not separator:
        raise ValueError("a part has no head of its own")
    headers: dict[str, str] = {}
    for line in head.decode().split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or name.lower() in headers:
            raise ValueError("a part's header is not understood")
        headers[name.lower()] = value.strip()
    names = _disposition(headers.get("content-disposition", ""))
    if not names.get("name"):
        raise ValueError("a part has no name")
    return Part(names["name"], names.get("filename"), headers.get("content-type"), data)


def _disposition(value: str) -> dict[str, str]:
    """The parameters of `form-data; name="a"; filename="b"`. A quote in a name comes as `%22`."""
    if not _DISPOSITION.fullmatch(value):
        raise ValueError("a part's disposition is not understood")
    pairs = _PARAMETER.findall(value)
    found = {name: _named(quoted) for name, quoted in pairs}
    if len(found) != len(pairs):
        raise ValueError("a part's disposition says something twice")
    return found


def _named(quoted: str) -> str:
    """A name as it was before HTML's multipart encoding, which escapes just these three."""
    return quoted.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
