"""Pure: finds the actual usage in the events of a stream, and keeps what is needed to count an answer whose usage never
comes. Knows neither who called nor what was held.

Only events that may hold usage are parsed as they pass. Ordinary ones are kept as bytes, up to PENDING_BYTES, and are
read in bulk when that is reached or when somebody asks what was received.
"""

from collections.abc import Callable

from gateway import answers, sse
from gateway.reported import Problem, Usage, examine, examine_piece

PENDING_BYTES = 16 * 1024  # of each open stream: a thousand of them keep little
TEXT_CHARACTERS = 64 * 1024  # counting this much takes about 2 ms


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
