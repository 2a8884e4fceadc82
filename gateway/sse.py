"""Pure: bytes in, server-sent events out, whatever the chunking; the bytes that come out are the bytes that went in.

The splitter ends an event at each blank line (LF, CRLF or CR). Consecutive events that need no attention come out as
one block, so that a relay sends them at once. A blank line too many stands at the start of the event that follows.
An event above MAX_EVENT_BYTES passes through in pieces (OVERSIZE). Its name and its type are read from its beginning,
so that its last piece is known as the end of an answer, and TAIL_BYTES stay back for that piece: usage stands there.
"""

import json
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

MAX_EVENT_BYTES = 1024 * 1024
TAIL_BYTES = 4096  # an event's usage is shorter, and the last member of events that carry an image
DONE_MARK = b"[DONE]"


class Kind(IntEnum):
    """What a block of bytes holds."""

    ORDINARY = 0  # one or more whole events that need no attention
    USAGE = 1  # one event that may hold usage
    TERMINAL = 2  # one event that ends the answer; it may hold usage
    OVERSIZE = 3  # a piece of an event that is too large to be held; what follows of it may be TERMINAL


Block = tuple[Kind, bytes]

_ORDINARY, _USAGE, _TERMINAL, _OVERSIZE = Kind
_BLANK_LINE = re.compile(rb"\n\n|\r\r|\n\r(?:\n|(?=[^\n]))")  # in \r\n\r\n the second alternative ends it as well
_ENDS = (b"\n\n", b"\r\r", b"\n\r\n", b"\n\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# Inside a JSON string the quotes are escaped, so that text of an answer cannot match.
_USAGE_OBJECT = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*\{')
_TYPE = re.compile(rb'"type"[ \t\r\n]*:[ \t\r\n]*"([a-z_.]+)"')


class Splitter:
    """Cuts one stream. `terminal` names the events that end an answer, besides `[DONE]`: by name, or by their type."""

    __slots__ = ("_buffer", "_is_oversize", "_names", "_oversize_end", "_terminal")

    def __init__(self, terminal: Iterable[bytes] = ()) -> None:
        self._names = frozenset(terminal)
        self._terminal = (DONE_MARK, *self._names)
        self._buffer = b""
        self._is_oversize = False
        self._oversize_end = _OVERSIZE  # what the last piece of the present oversize event is

    def feed(self, chunk: bytes) -> list[Block]:
        """The blocks that this chunk completes."""
        if self._buffer:
            return self._feed_joined(chunk)
        if b"\r" not in chunk:
            if chunk[-2:] == b"\n\n" and chunk[-3:] != b"\n\n\n":  # of three, the last belongs to the next event
                return [(_ORDINARY, chunk)] if self._is_ordinary(chunk) else self._blocks(chunk)
            if chunk.rfind(b"\n\n") < 0 and len(chunk) <= MAX_EVENT_BYTES:
                self._buffer = chunk
                return []
        return self._feed_joined(chunk)

    def rest(self) -> bytes:
        """What came after the last blank line. A stream that ended properly has none."""
        return self._buffer

    def _feed_joined(self, chunk: bytes) -> list[Block]:
        # A blank line may straddle the seam, so the search starts three bytes before it; nowhere earlier is one.
        held = self._buffer
        start = max(len(held) - 3, 0)
        joined = held + chunk
        end = 0
        for match in _BLANK_LINE.finditer(joined, start):
            end = match.end()
        self._buffer = joined[end:]
        blocks = self._whole(joined[:end]) if end else []
        if len(self._buffer) > MAX_EVENT_BYTES or (self._is_oversize and len(self._buffer) > 2 * TAIL_BYTES):
            if not self._is_oversize:
                self._is_oversize = True
                is_terminal = not self._names.isdisjoint(begun_kinds(self._buffer))
                self._oversize_end = _TERMINAL if is_terminal else _OVERSIZE
            blocks.append((_OVERSIZE, self._buffer[:-TAIL_BYTES]))
            self._buffer = self._buffer[-TAIL_BYTES:]
        return blocks

    def _whole(self, events: bytes) -> list[Block]:
        if self._is_oversize:
            self._is_oversize = False
            match = _BLANK_LINE.search(events)
            end = match.end() if match else len(events)
            rest = events[end:]
            return [(self._oversize_end, events[:end]), *(self._whole(rest) if rest else [])]
        return [(_ORDINARY, events)] if self._is_ordinary(events) else self._blocks(events)

    def _is_ordinary(self, events: bytes) -> bool:
        for mark in self._terminal:
            if mark in events:
                return False
        named = events.count(b'"usage"')
        return not named or named == events.count(b'"usage":null') or not _USAGE_OBJECT.search(events)

    def _blocks(self, events: bytes) -> list[Block]:
        blocks: list[Block] = []
        ordinary: list[bytes] = []
        for event in split(events):
            kind = self.kind_of(event)
            if kind is _ORDINARY:
                ordinary.append(event)
                continue
            if ordinary:
                blocks.append((_ORDINARY, b"".join(ordinary)))
                ordinary = []
            blocks.append((kind, event))
        if ordinary:
            blocks.append((_ORDINARY, b"".join(ordinary)))
        return blocks

    def kind_of(self, event: bytes) -> Kind:
        """What one whole event is."""
        if is_done(event) or (self._names and self._is_terminal(event)):
            return _TERMINAL
        return _USAGE if may_hold_usage(event) else _ORDINARY

    def _is_terminal(self, event: bytes) -> bool:
        """Providers name such events, or only give them a type; text of an answer that says so is neither."""
        if not any(name in event for name in self._names):
            return False
        return event_name(event) in self._names or event_type(event) in self._names


def split(events: bytes) -> Iterator[bytes]:
    """The single events of a block, blank lines included; what follows the last blank line is the last one."""
    position = 0
    for match in _BLANK_LINE.finditer(events):
        yield events[position : match.end()]
        position = match.end()
    if position < len(events):
        yield events[position:]


def data(event: bytes) -> bytes:
    """The payload of one event: its data lines joined by LF. Comments, names and ids are left out."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    return b"\n".join(_values(event, b"data"))


def event_name(event: bytes) -> bytes:
    """The name of one event, empty if it has none."""
    names = list(_values(event, b"event"))
    return names[-1] if names else b""


def event_type(event: bytes) -> bytes:
    """The `type` that an event's payload gives itself, empty if it has none."""
    try:
        payload = json.loads(data(event))
    except (ValueError, RecursionError):
        return b""
    kind = payload.get("type") if isinstance(payload, dict) else None
    return kind.encode("utf-8", "replace") if isinstance(kind, str) else b""


def begun_kinds(begun: bytes) -> tuple[bytes, bytes]:
    """The name and the type of an event of which perhaps only the beginning is there."""
    head = begun[:TAIL_BYTES]
    kind = _TYPE.search(head)
    return event_name(head), kind[1] if kind else b""


def ends_event(piece: bytes) -> bool:
    """Whether a piece of an oversize event is its last one."""
    return piece.endswith(_ENDS)


def is_done(event: bytes) -> bool:
    """Whether this is the event that ends a stream of completions."""
    return DONE_MARK in event and data(event).strip() == DONE_MARK


def may_hold_usage(event: bytes) -> bool:
    """Whether an object named usage stands somewhere in this event. Text inside JSON strings cannot match."""
    return b'"usage"' in event and _USAGE_OBJECT.search(event) is not None


def _values(event: bytes, field: bytes) -> Iterator[bytes]:
    for line in _LINE_END.split(event):
        name, _, value = line.partition(b":")
        if name == field:
            yield value[1:] if value.startswith(b" ") else value


def last_usage(piece: bytes) -> int | None:
    """Where the value of the last member named usage begins that holds an object, in a piece of JSON; None without."""
    begins = [match.end() - 1 for match in _USAGE_OBJECT.finditer(piece)]
    return begins[-1] if begins else None
