"""Pure: looks into a multipart form while it passes by, for the one field that has to be known: the model.

Bytes in, nothing out: the form itself goes on untouched. Nothing but the last bytes and the field's value is kept, so a
form may be of any size, and any chunking gives the same. RFC 7578 and, for the boundary, RFC 2046, 5.1.1.
"""

import re

from sentinel.exceptions import BadRequest

MAX_PART_HEAD_BYTES = 8 * 1024
MAX_VALUE_BYTES = 1024
_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"([^"\\]{1,70})"|([0-9A-Za-z\'()+_,./:=?-]{1,70}))[ \t]*(?:;|\Z)', re.I)
_DISPOSITION = re.compile(rb"^content-disposition:[ \t]*form-data([^\r\n]*)", re.I | re.M)
_PARAMETER = re.compile(rb';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a content type names. Raises BadRequest: without one nobody can read the form."""
    match = _BOUNDARY.search(content_type)
    if match is None or not content_type.lower().startswith(b"multipart/form-data"):
        raise BadRequest("A multipart form needs a boundary in its Content-Type.", code="invalid_form")
    return match[1] or match[2]


class FormWatch:
    """Watches one form. `value` is what the field says once it has passed, None until then."""

    __slots__ = ("_buffer", "_field", "_is_closed", "_is_in_head", "_is_wanted", "_mark", "_seen", "value")

    def __init__(self, boundary: bytes, field: str) -> None:
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
        if at < 0 or len(self._buffer) < after + 2:
            if self._is_wanted and (at if at >= 0 else len(self._buffer) - len(self._mark)) > MAX_VALUE_BYTES:
                raise BadRequest(f"{self._field.decode()} is too long.", param=self._field.decode())
            if not self._is_wanted and at < 0:
                self._buffer = self._buffer[-len(self._mark) :]  # the boundary may have begun
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
        if end < 0:
            if len(self._buffer) > MAX_PART_HEAD_BYTES:
                raise BadRequest("A part of the form has a head without end.", code="invalid_form")
            return False
        if _name_in(self._buffer[:end]) == self._field:
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
    line = _DISPOSITION.search(head)
    for parameter, quoted, plain in _PARAMETER.findall(line[1] if line else b""):
        if parameter.lower() == b"name":
            return bytes(quoted or plain)
    return b""
