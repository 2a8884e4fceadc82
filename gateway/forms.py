"""Pure: looks into a multipart form while it passes by, for the one field that has to be known: the model.

Bytes in, nothing out: the form itself goes on untouched. Nothing but the last bytes and the field's value is kept, so a
form may be of any size, and any chunking gives the same. RFC 7578 and, for the boundary, RFC 2046, 5.1.1.
"""

import re
from collections.abc import Iterable

from sentinel.exceptions import BadRequest

MAX_PART_HEAD_BYTES = 8 * 1024
MAX_VALUE_BYTES = 1024
_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"([^"\\]{1,70})"|([0-9A-Za-z\'()+_,./:=?-]{1,70}))[ \t]*(?:;|\Z)', re.I)
_STEPS = re.compile(rb"[][.]+")
_BOUNDARY_NAME = re.compile(rb";[ \t]*boundary[ \t]*=", re.I)
_DISPOSITION = re.compile(rb"content-disposition[ \t]*:[^;]*(.*)", re.I | re.S)
_PARAMETER = re.compile(rb';[ \t]*+([^\s=;"]++)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"[ \t]*+|([^;"]*+))', re.S)
_PARAMETERS = re.compile(rb"(?:%b)*+;?[ \t]*+" % _PARAMETER.pattern, re.S)


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a content type names. Raises BadRequest: without one nobody can read the form."""
    match = _BOUNDARY.search(content_type)
    named = len(_BOUNDARY_NAME.findall(content_type))
    if match is None or named != 1 or not content_type.lower().startswith(b"multipart/form-data"):
        raise BadRequest("A multipart form needs one boundary in its Content-Type.", code="invalid_form")
    return match[1] or match[2]


class FormWatch:
    """Watches one form. `value` is what the field says once it has passed, None until then."""

    __slots__ = ("_buffer", "_closed", "_field", "_is_closed", "_is_in_head", "_is_wanted", "_mark", "_seen", "value")

    def __init__(self, boundary: bytes, field: str, closed: Iterable[str] = ()) -> None:
        """`closed` are fields that the form may not have."""
        self._closed = frozenset(name.encode() for name in closed)
        self.value: str | None = None
        self._mark = b"\r\n--" + boundary
        self._field = field.encode()
        self._buffer = b"\r\n"  # the first boundary may stand at the very beginning
        self._seen = False
        self._is_in_head = self._is_wanted = self._is_closed = False

    def feed(self, chunk: bytes) -> None:
        """Take note of a piece. Raises BadRequest for a second field of that name, or a head or value without end."""
        self._buffer += chunk
        while not self._is_closed and (self._read_head() if self._is_in_head else self._read_content()):
            pass

    @property
    def is_closed(self) -> bool:
        """Whether the last boundary has passed: no further field can come."""
        return self._is_closed

    def _read_content(self) -> bool:
        at = self._buffer.find(self._mark)
        after = at + len(self._mark)
        # Where the boundary is not seen yet, it may have begun with the last bytes.
        passed = at if at >= 0 else max(len(self._buffer) - len(self._mark) + 1, 0)
        if self._is_wanted and passed > MAX_VALUE_BYTES + 2:
            raise BadRequest(f"{self._field.decode()} is too long.", param=self._field.decode())
        if at < 0 or len(self._buffer) < after + 2:
            if not self._is_wanted:
                self._buffer = self._buffer[passed:]
            return False
        if self._is_wanted:
            self._take(self._buffer[:at])
            self._is_wanted = False
        following = self._buffer[after : after + 2]
        if following not in {b"--", b"\r\n"}:  # two readers could see two forms
            raise BadRequest("A boundary of the form is not at the end of its line.", code="invalid_form")
        self._is_closed = following == b"--"
        self._is_in_head = not self._is_closed
        self._buffer = b"" if self._is_closed else self._buffer[after:]
        return True

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._buffer) - 3) > MAX_PART_HEAD_BYTES:
            raise BadRequest("A part of the form has a head without end.", code="invalid_form")
        if end < 0:
            return False
        name = _name_in(self._buffer[:end])
        if not self._closed.isdisjoint(_STEPS.split(name)):  # nested ones are written `a[b]`, or `a.b`
            raise BadRequest(f"{name.decode('ascii', 'replace')} is not accepted in a form here.", code="invalid_form")
        if name == self._field:
            if self._seen:
                raise BadRequest(f"The form names {self._field.decode()} twice.", code="duplicate_key")
            self._seen = self._is_wanted = True
        self._is_in_head = False
        self._buffer = self._buffer[end + 2 :]  # an empty value has its boundary right behind
        return True

    def _take(self, content: bytes) -> None:
        # The content begins behind the line end that closes the head.
        try:
            self.value = content.removeprefix(b"\r\n").decode()
        except UnicodeDecodeError:
            raise BadRequest(f"{self._field.decode()} must be text in UTF-8.", param=self._field.decode()) from None


def _name_in(head: bytes) -> bytes:
    """The field that a part's head names, b"" without one. Raises BadRequest where others could read another name."""
    lines = head.split(b"\r\n")
    said = [match[1] for line in lines if (match := _DISPOSITION.match(line))]
    read = [found for parameters in said for found in _PARAMETER.findall(parameters)]
    names = [quoted or plain.strip() for parameter, quoted, plain in read if _is_name(parameter)]
    is_folded = any(line[:1] in {b" ", b"\t"} or b"\r" in line or b"\n" in line for line in lines)
    is_clear = len(said) <= 1 and len(names) <= 1 and all(map(_PARAMETERS.fullmatch, said))
    is_encoded = any(b"*" in parameter or b"\\" in quoted for parameter, quoted, _ in read if _is_name(parameter))
    if is_folded or is_encoded or not is_clear:
        raise BadRequest("A part of the form has a head that can be read in two ways.", code="invalid_form")
    return bytes(names[0]) if names else b""


def _is_name(parameter: bytes) -> bool:
    return parameter.lower().partition(b"*")[0] == b"name"
