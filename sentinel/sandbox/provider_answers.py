"""What the provider's simulator says to chats and to the older endpoint: plain answers, and streams as events. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sentinel.sandbox.provider_asks import Ask, parse_chat, parse_completion
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_rendition import EVENT_STREAM, Rendition, Sse, Stamp, document, stream_error
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import ARGUMENTS, SENTENCE, sentence
from sentinel.sandbox.provider_usage import Counts, Usage, of_completions, report

FINGERPRINT = "fp_sandbox"
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
    def thought(self) -> int:
        """Tokens per choice that are generated before the first piece and not shown."""
        return min(self.script.reasoning_tokens, self.ask.cap)

    @property
    def count(self) -> int:
        """Pieces per choice."""
        return min(self.wanted, self.ask.cap - self.thought)

    @property
    def hidden(self) -> int:
        """Tokens of all choices that are not shown."""
        return self.thought * self.ask.generated

    @property
    def completion_tokens(self) -> int:
        """Tokens of all that was generated."""
        return self.count * self.ask.generated + self.hidden

    @property
    def finish_reason(self) -> str:
        """Why the answer ends."""
        if self.count < self.wanted:
            return "length"
        return "tool_calls" if self.script.tool_calls else "stop"

    def pieces(self) -> Iterator[str]:
        """The pieces of one choice: the sentence, over and over."""
        return sentence(self.count, ARGUMENTS if self.script.tool_calls else SENTENCE)


def chat(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """A chat answer. Raises Refused."""
    return _rendition(form, script, stamp.ident("chatcmpl-"), stamp.created, parse_chat)


def completion(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """An answer of the older endpoint. Raises Refused."""
    return _rendition(form, script, stamp.ident("cmpl-"), stamp.created, parse_completion)


def _rendition(
    form: Form, script: Script, ident: str, created: int, parse: Callable[[Mapping[str, Any]], Ask]
) -> Rendition:
    answer = Answer(parse(form.fields), script, ident, created)
    return Rendition(
        script=script,
        model=answer.ask.model,
        prompt_tokens=answer.ask.prompt_tokens,
        body=lambda: plain_body(answer),
        events=(lambda: stream_events(answer)) if answer.ask.is_stream else None,
        error=lambda: Frame(answer).error(),
        tokens=answer.completion_tokens,
        hidden=answer.hidden,
        pauses=answer.count,
        content_type=EVENT_STREAM if answer.ask.is_stream else "application/json",
    )


def usage(answer: Answer, completion: int) -> Usage:
    """The usage object as the script wants it reported, for that many completion tokens. None is null."""
    counts = Counts(answer.ask.prompt_tokens, completion, min(answer.hidden, completion))
    return of_completions(answer.script, counts, has_details=answer.ask.is_chat)


def plain_body(answer: Answer) -> bytes:
    """The whole JSON of an answer that is not streamed."""
    ask, text = answer.ask, "".join(answer.pieces())
    choices = [_plain_choice(answer, index, text) for index in range(ask.choices)]
    value: dict[str, Any] = {
        "id": answer.ident,
        "object": "chat.completion" if ask.is_chat else "text_completion",
        "created": answer.created,
        "model": ask.model,
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
    report(value, answer.script, usage(answer, answer.completion_tokens))
    return document(value, answer.script)


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
    spent = answer.hidden
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

    __slots__ = ("_answer", "_head", "_tail", "event")

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
        self.event = Sse(answer.script).event

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
        return self.event(orjson.dumps(stream_error(self._answer.script)))


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
