"""What the provider's simulator says: plain answers, and streams as events. Pure.

Every piece is exactly one token in both of OpenAI's encodings, also when all are counted together, so that what was
served can be counted without a tokenizer. Pieces hold characters of two and three bytes, so that splits meet them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle

import orjson

from sentinel.sandbox.provider_asks import Ask
from sentinel.sandbox.provider_script import Script

SENTENCE = ("The", " café", " by", " the", " harbour", " is", " open", " today", " —", " and", " very", " quiet", ".")
ARGUMENTS = ('{"', "city", '":"', "Paris", '"}')
FINGERPRINT = "fp_sandbox"
_ABSURD = 10**12
_SIZES = (1, 2, 3, 5, 7, 11, 13, 17, 19, 23)
_ENCODED = {piece: orjson.dumps(piece) for piece in (*SENTENCE, " The", *ARGUMENTS)}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, ready to be rendered. `created` is in seconds since 1970."""

    ask: Ask
    script: Script
    ident: str
    created: int

    @property
    def wanted(self) -> int:
        """Pieces per choice, were there no cap."""
        if self.script.tool_calls:
            return len(ARGUMENTS)
        return len(SENTENCE) if self.script.pieces is None else self.script.pieces

    @property
    def count(self) -> int:
        """Pieces per choice."""
        return min(self.wanted, self.ask.cap)

    @property
    def completion_tokens(self) -> int:
        """Pieces of all that was generated."""
        return self.count * self.ask.generated

    @property
    def finish_reason(self) -> str:
        """Why the answer ends."""
        if self.count < self.wanted:
            return "length"
        return "tool_calls" if self.script.tool_calls else "stop"

    def pieces(self) -> Iterator[str]:
        """The pieces of one choice: the sentence, over and over."""
        source = ARGUMENTS if self.script.tool_calls else SENTENCE
        for at in range(self.count):
            piece = source[at % len(source)]
            yield f" {piece}" if at and piece == "The" else piece


def usage(answer: Answer, completion: int) -> dict[str, object] | None:
    """The usage object as the script wants it reported, for that many completion tokens. None is null."""
    prompt = answer.ask.prompt_tokens
    match answer.script.usage:
        case "null":
            return None
        case "zero":
            prompt, completion = 0, 0
        case "negative":
            prompt, completion = -prompt, -completion
        case "absurd":
            prompt, completion = _ABSURD, _ABSURD
    counts: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if answer.script.usage == "string":
        counts = {name: str(count) for name, count in counts.items()}
    if not answer.ask.is_chat:
        return counts
    spoken = {"audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    return {
        **counts,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, **spoken},
    }


def plain_body(answer: Answer) -> bytes:
    """The whole JSON of an answer that is not streamed."""
    ask, text = answer.ask, "".join(answer.pieces())
    choices = [_plain_choice(answer, index, text) for index in range(ask.choices)]
    value: dict[str, object] = {
        "id": answer.ident,
        "object": "chat.completion" if ask.is_chat else "text_completion",
        "created": answer.created,
        "model": ask.model,
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
    if answer.script.usage != "omit":
        value["usage"] = usage(answer, answer.completion_tokens)
    if answer.script.padding:
        value["padding"] = "x" * answer.script.padding
    return orjson.dumps(value)


def _plain_choice(answer: Answer, index: int, text: str) -> dict[str, object]:
    end = {"logprobs": None, "finish_reason": answer.finish_reason}
    if not answer.ask.is_chat:
        return {"text": text, "index": index, **end}
    message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if answer.script.tool_calls:
        message |= {"content": None, "tool_calls": [_tool_call(answer, index, text)]}
    return {"index": index, "message": message, **end}


def _tool_call(answer: Answer, index: int, arguments: str) -> dict[str, object]:
    function = {"name": "get_weather", "arguments": arguments}
    return {"id": f"call_{answer.ident}_{index}", "type": "function", "function": function}


def stream_events(answer: Answer) -> Iterator[tuple[bytes, int]]:
    """The events of a stream in order, each with the number of pieces in it."""
    ask, script = answer.ask, answer.script
    frame = Frame(answer)
    spent = 0
    if ask.is_chat:
        for index in range(ask.choices):
            yield frame.chunk(_opening(answer, index), spent), 0
    for piece in answer.pieces():
        for index in range(ask.choices):
            spent += 1
            yield frame.chunk(_delta(answer, index, piece), spent), 1
    for index in range(ask.choices):
        yield frame.chunk(_closing(answer, index), spent), 0
    if ask.include_usage and script.usage != "omit":
        if script.usage == "twice":
            yield frame.chunk(b"", spent, usage(answer, spent // 2)), 0
        yield frame.chunk(b"", spent, usage(answer, spent)), 0
    yield frame.event(b"[DONE]"), 0


class Frame:
    """The parts that all events of one stream share, rendered once."""

    __slots__ = ("_answer", "_end", "_head", "_start", "_tail")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        head = {
            "id": answer.ident,
            "object": "chat.completion.chunk" if answer.ask.is_chat else "text_completion",
            "created": answer.created,
            "model": answer.ask.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        self._head = orjson.dumps(head)[:-1] + b',"choices":['
        self._tail = b',"obfuscation":"%s"}' % (b"x" * answer.script.padding) if answer.script.padding else b"}"
        line = b"\r\n" if answer.script.crlf else b"\n"
        self._end = line * 2
        self._start = b": keep-alive" + self._end + b"data: " if answer.script.comments else b"data: "

    def event(self, data: bytes) -> bytes:
        """One server-sent event."""
        return self._start + data + self._end

    def chunk(self, choice: bytes, spent: int, final: Mapping[str, object] | None = None) -> bytes:
        """One chunk; without a choice it is the one that reports usage."""
        reported = b""
        if not choice:
            reported = b',"usage":' + orjson.dumps(final)
        elif self._answer.ask.include_usage:
            is_running = self._answer.script.usage == "cumulative"
            reported = b',"usage":' + (orjson.dumps(usage(self._answer, spent)) if is_running else b"null")
        return self.event(self._head + choice + b"]" + reported + self._tail)

    def error(self) -> bytes:
        """An error in the middle of a stream."""
        default = {"message": "The server had an error while processing your request.", "type": "server_error"}
        error = self._answer.script.error or {**default, "param": None, "code": None}
        return self.event(orjson.dumps({"error": error}))


def _opening(answer: Answer, index: int) -> bytes:
    delta: dict[str, object] = {"role": "assistant", "content": "", "refusal": None}
    if answer.script.tool_calls:
        delta |= {"content": None, "tool_calls": [{"index": 0, **_tool_call(answer, index, "")}]}
    return orjson.dumps({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})


def _delta(answer: Answer, index: int, piece: str) -> bytes:
    text = _ENCODED[piece]
    if not answer.ask.is_chat:
        return b'{"text":%s,"index":%d,"logprobs":null,"finish_reason":null}' % (text, index)
    if answer.script.tool_calls:
        text = b'{"tool_calls":[{"index":0,"function":{"arguments":%s}}]}' % text
    else:
        text = b'{"content":%s}' % text
    return b'{"index":%d,"delta":%s,"logprobs":null,"finish_reason":null}' % (index, text)


def _closing(answer: Answer, index: int) -> bytes:
    end: dict[str, object] = {"logprobs": None, "finish_reason": answer.finish_reason}
    if answer.ask.is_chat:
        return orjson.dumps({"index": index, "delta": {}, **end})
    return orjson.dumps({"text": "", "index": index, **end})


class Splitter:
    """Tears a stream into writes that respect neither events nor characters."""

    def __init__(self, how: str) -> None:
        self._how = how
        self._sizes = cycle(_SIZES)
        self._size = next(self._sizes)
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The writes that are due; what is too short for one waits for more."""
        if self._how == "none":
            yield data
        elif self._how == "bytes":
            for at in range(len(data)):
                yield data[at : at + 1]
        else:
            self._rest += data
            while len(self._rest) >= self._size:
                part, self._rest = self._rest[: self._size], self._rest[self._size :]
                self._size = next(self._sizes)
                yield part

    def flush(self) -> bytes:
        """What still waits."""
        rest, self._rest = self._rest, b""
        return rest
