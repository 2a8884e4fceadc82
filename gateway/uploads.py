"""A body that goes up while it comes in: never held whole, so that it may be of any size up to a cap."""

from collections.abc import AsyncIterator, Callable

from gateway.forms import FormWatch
from sentinel.exceptions import BadRequest
from sentinel.lib.guard import Receive, incoming, too_large

Check = Callable[[str | None], None]
_BLANK = b" \t\r\n\0\xef\xbb\xbf\xfe\xff"  # what may stand before JSON: white space, and marks of its encoding


class Opaque:
    """Watches a body that is neither JSON nor a form by its type: nobody reads it, so that it may not be JSON."""

    __slots__ = ("_has_begun",)
    value: None = None  # it names no model

    def __init__(self) -> None:
        self._has_begun = False

    def feed(self, chunk: bytes) -> None:
        """Take note of a piece. Raises BadRequest for what the provider could read as JSON, whatever its type says."""
        begun = b"" if self._has_begun else chunk.lstrip(_BLANK)[:1]
        self._has_begun = self._has_begun or begun != b""
        if begun in {b"{", b"["}:
            raise BadRequest("JSON needs the Content-Type application/json.", code="invalid_json")


class Upload:
    """The body of one request. `model` is what its form names, once that has passed; `is_complete` after its end."""

    __slots__ = ("_check", "_form", "_is_checked", "_limit", "_receive", "is_complete", "length")

    def __init__(
        self, receive: Receive, length: int | None, limit: int, form: FormWatch | Opaque, check: Check
    ) -> None:
        """`length` is None where the client does not say it. `check` raises CallError for a model that may not be used;
        it is asked as soon as the model is known, and at the latest before the last byte leaves."""
        self.length = length
        self.is_complete = self._is_checked = False
        self._receive, self._limit, self._form, self._check = receive, limit, form, check

    @property
    def model(self) -> str:
        """The model that the form has named so far, "" without one."""
        return self._form.value or ""

    @property
    def framing(self) -> bytes:
        """The header that says how long the body is: as the client said it."""
        if self.length is None:
            return b"transfer-encoding: chunked\r\n"
        return b"content-length: %d\r\n" % self.length

    async def framed(self) -> AsyncIterator[bytes]:
        """The body as it goes over the wire below that header. Raises Gone, PayloadTooLarge, BadRequest."""
        async for piece in self._pieces():
            yield piece if self.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece)
        if self.length is None:
            yield b"0\r\n\r\n"
        self.is_complete = True

    async def _pieces(self) -> AsyncIterator[bytes]:
        """One piece stays back, so that the last one leaves only when all was seen."""
        size, held = 0, b""
        async for piece in incoming(self._receive):
            size += len(piece)
            if size > self._limit:
                raise too_large(self._limit)
            self._look_at(piece)
            if held and piece:
                yield held
            held = piece or held
        if not self._is_checked:
            self._check(None)
        if held:
            yield held

    def _look_at(self, piece: bytes) -> None:
        self._form.feed(piece)
        if self._form.value is not None and not self._is_checked:
            self._is_checked = True
            self._check(self._form.value)
