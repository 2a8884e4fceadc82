"""Pure: finds the actual usage in a plain reply or in the events of a stream, and keeps what is needed to count an
answer whose usage never comes. Knows neither who called nor what was held.

Only events that may hold usage are parsed as they pass. Ordinary ones are kept as bytes, up to PENDING_BYTES, and are
read in bulk when that is reached or when somebody asks what was received.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from gateway import answers, sse
from gateway.details import Reported, Tokens, details_of, mended
from usage.values import NO_DETAILS, Details

PENDING_BYTES = 16 * 1024  # of each open stream: a thousand of them keep little
TEXT_CHARACTERS = 64 * 1024  # counting this much takes about 2 ms


class Problem(StrEnum):
    """Why a reply gives no usage; a closed set, fit for a metric's label."""

    MISSING = "missing"
    INVALID = "invalid"
    UNPARSABLE = "unparsable"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them; `details` are parts of both, and add nothing to them."""

    input: int
    output: int
    details: Details = NO_DETAILS


class _Counts(Reported):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    total_tokens: Any = None


class _Reply(msgspec.Struct):
    usage: _Counts | None = None


class _Wrapped(msgspec.Struct):
    response: _Reply | None = None


_reply = msgspec.json.Decoder(_Reply)
_wrapped = msgspec.json.Decoder(_Wrapped)


def read_usage(payload: bytes) -> Usage | None:
    """The usage that a reply or the payload of an event reports; None if there is none that can be believed."""
    usage = examine(payload)
    return usage if isinstance(usage, Usage) else None


def examine(payload: bytes) -> Usage | Problem:
    """Like read_usage, and says what is wrong. Counts are integers from 0 to details.MAX_TOKENS, nothing else."""
    try:
        counts = answers.decode(payload, _reply).usage
        if counts is None and b'"response"' in payload:
            counts = getattr(answers.decode(payload, _wrapped).response, "usage", None)
    except msgspec.ValidationError:
        return _examine_mended(payload, Problem.INVALID)
    except (ValueError, RecursionError):
        return _examine_mended(payload, Problem.UNPARSABLE)
    return Problem.MISSING if counts is None else _usage(counts)


def _examine_mended(payload: bytes, problem: Problem) -> Usage | Problem:
    """Once more, in case that the problem is only a detail that is no count."""
    try:
        reply = mended(payload)
        counts = msgspec.convert(reply, _Reply).usage
        if counts is None:
            counts = getattr(msgspec.convert(reply, _Wrapped).response, "usage", None)
    except (ValueError, RecursionError):
        return problem
    return Problem.MISSING if counts is None else _usage(counts)


def examine_piece(piece: bytes) -> Usage | Problem:
    """The last usage that stands whole in a piece of JSON, wherever the piece was cut.

    Inside strings quotes are escaped, so that what a model wrote cannot be taken for it.
    """
    begin = sse.last_usage(piece)
    if begin is None:
        return Problem.MISSING
    try:
        _, length = _FIRST.raw_decode(text := piece[begin:].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Problem.UNPARSABLE
    return examine(b'{"usage":%b}' % text[:length].encode())


_FIRST = json.JSONDecoder()


class StreamMeter:
    """Watches one stream. `count` gives the tokens of a text.

    `usage` is the last usable report; `problem` says why a later or only one was not usable. `is_complete` turns true
    with the terminal event, `has_failed` with one that says so. `unparsable` counts events that were looked at and not
    understood.
    """

    __slots__ = (
        "_characters",
        "_count",
        "_counted",
        "_counted_tokens",
        "_deltas",
        "_fails",
        "_has_finished",
        "_is_in_oversize",
        "_pending",
        "_size",
        "_texts",
        "_tokens",
        "has_failed",
        "is_complete",
        "problem",
        "unparsable",
        "usage",
    )

    def __init__(self, count: Callable[[str], int]) -> None:
        self.usage: Usage | None = None
        self.problem: Problem | None = None
        self.is_complete = False
        self.has_failed = False
        self.unparsable = 0
        self._count = count
        self._pending: list[bytes] = []
        self._size = 0
        self._texts: dict[int, list[str]] = {}
        self._characters = 0
        self._tokens = 0
        self._deltas = 0
        self._has_finished = False
        self._is_in_oversize = self._fails = False  # of an oversize event, whether it says that the answer failed
        self._counted: dict[int, int] = {}  # of each choice, how many pieces are in _counted_tokens
        self._counted_tokens = 0

    def add(self, kind: sse.Kind, block: bytes) -> None:
        """Take note of a block that the splitter gave."""
        if kind is not _ORDINARY and not self._is_kept(kind, block):
            return
        self._pending.append(block)
        self._size += len(block)
        if self._size > PENDING_BYTES:
            self._fold()

    def received(self) -> int:
        """Tokens of the answer so far, counted by us over all choices; at least one per delta that said something."""
        self._fold()
        return max(self._tokens + self._count_texts(), self._deltas)

    def passed(self) -> int:
        """`received`, a little above it: counted in the pieces between two questions, so that asking often is cheap."""
        self._fold()
        self._count_pieces()
        return max(self._counted_tokens, self._deltas)

    def has_finished(self) -> bool:
        """Whether a reason to finish was seen, `[DONE]` or not."""
        self._fold()
        return self._has_finished

    def _is_kept(self, kind: sse.Kind, block: bytes) -> bool:
        was_oversize, is_piece = self._is_in_oversize, kind is sse.Kind.OVERSIZE
        self._is_in_oversize = is_piece and not sse.ends_event(block)
        if is_piece and not was_oversize:
            self.unparsable += 1
            self._deltas += 1
            self._fails = any(begun.endswith(_FAILED) for begun in sse.begun_kinds(block))
        if sse.may_hold_usage(block):
            self._note(examine_piece(block) if was_oversize or is_piece else examine(sse.data(block)))
        if kind is sse.Kind.TERMINAL:
            self.is_complete = True
            is_failure = (sse.event_name(block) or sse.event_type(block)).endswith(_FAILED)
            self.has_failed = self._fails if was_oversize else is_failure
        return kind is sse.Kind.USAGE

    def _note(self, found: Usage | Problem) -> None:
        if isinstance(found, Usage):
            self.usage, self.problem = found, None
        else:
            self.problem = found

    def _fold(self) -> None:
        blocks, self._pending, self._size = b"".join(self._pending), [], 0
        if not blocks:
            return
        found, unparsable = answers.read_block(blocks)
        self.unparsable += unparsable
        self._deltas += unparsable
        pieces: dict[int, list[str]] = {}
        for answer in found:
            try:
                self._collect(answer, pieces)
            except RecursionError:  # nested deeper than anybody writes
                self.unparsable += 1
                self._deltas += 1
        for index, said in pieces.items():  # joined: a string of its own for each token is ten times its text
            self._texts.setdefault(index, []).append("".join(said))
        if self._characters > TEXT_CHARACTERS:
            self._tokens += self._count_texts()
            self._count_pieces()
            self._texts.clear()
            self._counted.clear()
            self._characters = 0

    def _collect(self, answer: answers.Answer, pieces: dict[int, list[str]]) -> None:
        if type(answer.delta) is str:
            self._keep(pieces, 0, answer.delta)
        for choice in answer.choices or ():
            self._keep(pieces, choice.index, answers.text_of(choice))
            if choice.finish_reason is not None:
                self._has_finished = True

    def _keep(self, pieces: dict[int, list[str]], index: int, text: str) -> None:
        if text:
            self._deltas += 1
            self._characters += len(text)
            pieces.setdefault(index, []).append(text)

    def _count_pieces(self) -> None:
        for index, texts in self._texts.items():
            self._counted_tokens += self._count("".join(texts[self._counted.get(index, 0) :]))
            self._counted[index] = len(texts)

    def _count_texts(self) -> int:
        return sum(self._count("".join(texts)) for texts in self._texts.values())


_ORDINARY = sse.Kind.ORDINARY
_FAILED = b".failed"


def _usage(counts: _Counts) -> Usage | Problem:
    read = counts.input_tokens if counts.prompt_tokens is None else counts.prompt_tokens
    written = counts.output_tokens if counts.completion_tokens is None else counts.completion_tokens
    if written is None and read is not None and counts.total_tokens == read:
        written = 0  # embeddings report no output
    return Problem.INVALID if read is None or written is None else Usage(read, written, details_of(counts))
