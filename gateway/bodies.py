"""Pure: a JSON object as its top-level members, so that some can be replaced and every other byte stays as it came.

1. msgspec splits the object into names and views of the raw values, and refuses what is not JSON.
2. A walk over the buffer finds where each value stands, and thereby any member that the split lost: a duplicate.
3. `splice` replaces exactly those spans.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from sentinel.exceptions import BadRequest

MAX_MEMBERS = 1000
MAX_NAME_CHARACTERS = 1024
MAX_DIGITS = 4300  # Python refuses to convert longer integers (sys.set_int_max_str_digits)

_ANY = msgspec.json.Decoder()
_SPLIT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_GAP = re.compile(rb'[ \t\n\r]*[{,][ \t\n\r]*"[^"\\]*+(?:\\.[^"\\]*+)*+"[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_END = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*\Z")
_EMPTY = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*\}[ \t\n\r]*\Z")
_ESCAPE = re.compile(rb"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL)
_STRING_OR_LONG_NUMBER = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|([0-9]{%d})' % (MAX_DIGITS + 1), re.DOTALL)
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)


@dataclass(frozen=True, slots=True)
class Body:
    """One JSON object. `spans` holds, per member in order, where its value begins and ends in `raw`."""

    raw: bytes
    spans: Mapping[str, tuple[int, int]]

    @classmethod
    def parse(cls, raw: bytes) -> "Body":
        """Split the object. Raises BadRequest `invalid_json` or `duplicate_key`, and nothing else."""
        try:
            raw.decode()
            fields = _SPLIT.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return cls(raw, _exotic_spans(raw))
        return cls(raw, _spans(raw, fields))

    def __contains__(self, name: str) -> bool:
        return name in self.spans

    def get(self, name: str) -> bytes | None:
        """The JSON text of a member's value as it came; None if there is no such member."""
        span = self.spans.get(name)
        return None if span is None else self.raw[span[0] : span[1]]

    def value(self, name: str) -> object:
        """A member's value, decoded; None if it is null or missing. Raises BadRequest `invalid_json`."""
        span = self.spans.get(name)
        return None if span is None else decode(self.raw[span[0] : span[1]])

    def splice(self, changes: Mapping[str, bytes], additions: Mapping[str, bytes]) -> bytes:
        """The object with the values of `changes` (existing members) replaced and `additions` (new ones) at its end.

        Values are JSON texts. All other bytes stay. Raises KeyError for a change of a member that is not there.
        """
        raw, position = self.raw, 0
        parts: list[bytes] = []
        for (start, end), text in sorted((self.spans[name], text) for name, text in changes.items()):
            parts += raw[position:start], text
            position = end
        if additions:
            end = raw.rindex(b"}")
            parts.append(raw[position:end].rstrip(b" \t\n\r") if position < end else b"")
            lead = b"," if self.spans else b""
            for name, text in additions.items():
                parts += lead, msgspec.json.encode(name), b":", text
                lead = b","
            position = end
        parts.append(raw[position:])
        return b"".join(parts)


def decode(text: bytes) -> object:
    """Any JSON value. Raises BadRequest `invalid_json`; lone surrogates and numbers beyond a double are legal."""
    try:
        return _ANY.decode(text)
    except (ValueError, RecursionError):
        pass  # msgspec refuses some legal texts that the standard library reads
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        _refuse()


class Members(tuple[tuple[str, object], ...]):
    """All members of an object, also those that stand twice: nobody knows which one the provider believes."""

    __slots__ = ()

    def all(self, name: str) -> list[object]:
        """Every value that stands under this name."""
        return [value for own, value in self if own == name]


def decode_members(text: bytes) -> object:
    """Any JSON value, its objects as Members. Raises BadRequest `invalid_json`."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=Members)
    except (ValueError, RecursionError):
        _refuse()


def encode(value: object) -> str:
    """The JSON text of a decoded value, in ASCII, so that lone surrogates stay escapes. Raises BadRequest."""
    return _encoded(value, _ASCII)


def encode_plainly(value: object) -> str:
    """The same with every character as itself, for counting: what a client escapes does not cost more."""
    return _encoded(value, _PLAIN)


def _encoded(value: object, encoder: json.JSONEncoder) -> str:
    try:
        return encoder.encode(value)
    except (ValueError, RecursionError):
        _refuse()


_ASCII = json.JSONEncoder(separators=(",", ":"))
_PLAIN = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def _spans(raw: bytes, fields: Mapping[str, msgspec.Raw]) -> dict[str, tuple[int, int]]:
    # A duplicate leaves fewer fields than members, and the value of its last place at its first place. Comparing
    # the bytes, not only their lengths, keeps the walk in step: a body can be built that lengths alone accept.
    if len(raw) > MAX_DIGITS:
        _check_size(raw, fields)
    position, spans, match, same = 0, {}, _GAP.match, raw.startswith
    for name, value in fields.items():
        gap = match(raw, position)
        if gap is None:
            _refuse_duplicate()
        start = gap.end()
        text = bytes(value)
        if not same(text, start):
            _refuse_duplicate()
        position = start + len(text)
        spans[name] = (start, position)
    if not (_END.match(raw, position) if spans else _EMPTY.match(raw)):
        _refuse_duplicate()
    return spans


def _exotic_spans(raw: bytes) -> dict[str, tuple[int, int]]:
    # msgspec refuses escaped lone surrogates, which are legal. A copy in which every escaped surrogate is another
    # escape of the same length has its values at the same places.
    tame = _ESCAPE.sub(lambda match: b"\\ufffd" if len(match[0]) == 6 else match[0], raw)
    try:
        raw.decode()
        fields = _SPLIT.decode(tame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _refuse()
    spans = _spans(tame, fields)
    return dict(zip(_names(raw, spans), spans.values(), strict=True))


def _names(raw: bytes, spans: Mapping[str, tuple[int, int]]) -> list[str]:
    # The names of the tame copy are not the real ones; two of them may have become equal: refused as duplicates.
    names, position = [], 0
    for start, end in spans.values():
        gap = raw[position:start]
        names.append(json.loads(gap[gap.index(b'"') : gap.rindex(b'"') + 1]))
        position = end
    return names


def _check_size(raw: bytes, fields: Mapping[str, msgspec.Raw]) -> None:
    if len(fields) > MAX_MEMBERS or max(map(len, fields), default=0) > MAX_NAME_CHARACTERS:
        _refuse("The request has too many members, or one with too long a name.")
    if _LONG_NUMBER in raw.translate(_DIGITS_ALIKE) and any(m[1] for m in _STRING_OR_LONG_NUMBER.finditer(raw)):
        _refuse("The request holds a number with too many digits.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse(message: str = "The request body is not a JSON object in UTF-8.") -> NoReturn:
    raise BadRequest(message, code="invalid_json") from None


def _refuse_duplicate() -> NoReturn:
    raise BadRequest("The request body names a member twice.", code="duplicate_key")
