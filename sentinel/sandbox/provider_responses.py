"""What the provider's simulator answers to `/v1/responses`: the document, and its events when streamed. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.sandbox.provider_rendition import EVENT_STREAM, Events, Rendition, Sse, Stamp, document, stream_error
from sentinel.sandbox.provider_response_asks import ResponseAsk
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import ARGUMENTS, SENTENCE, sentence
from sentinel.sandbox.provider_usage import Counts, of_response, report

_ECHOED: Mapping[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResponseAnswer:
    """One response, ready to be rendered."""

    ask: ResponseAsk
    body: Mapping[str, Any]
    script: Script
    stamp: Stamp

    @property
    def thought(self) -> int:
        """Tokens that are generated before the first piece and not shown."""
        return min(self.script.reasoning_tokens, self.ask.cap)

    @property
    def wanted(self) -> list[str]:
        """The pieces, were there no cap."""
        if self.script.tool_calls:
            return list(ARGUMENTS)
        if self.ask.text is not None:
            return list(self.ask.text)
        return list(sentence(len(SENTENCE) if self.script.pieces is None else self.script.pieces))

    @property
    def pieces(self) -> list[str]:
        """The pieces."""
        return self.wanted[: self.ask.cap - self.thought]

    @property
    def output_tokens(self) -> int:
        """All that is generated."""
        return self.thought + len(self.pieces)

    @property
    def status(self) -> str:
        """How it ends."""
        return "completed" if len(self.pieces) == len(self.wanted) else "incomplete"

    def item(self, status: str, text: str) -> Item:
        """The one output item: a message, or the call of a function."""
        if self.script.tool_calls:
            call = {"call_id": self.stamp.ident("call_"), "name": self.ask.tool, "arguments": text}
            return {"id": self.stamp.ident("fc_"), "type": "function_call", "status": status, **call}
        content = [] if status == "in_progress" else [part(text)]
        role = {"role": "assistant", "content": content}
        return {"id": self.stamp.ident("msg_"), "type": "message", "status": status, **role}

    def opening(self) -> dict[str, Any]:
        """The response before anything was generated."""
        return self._document("in_progress", [])

    def final(self) -> dict[str, Any]:
        """The response as it ends."""
        output = [self.item(self.status, "".join(self.pieces))] if self.pieces or not self.wanted else []
        value = self._document(self.status, output)
        if self.status == "incomplete":
            value["incomplete_details"] = {"reason": "max_output_tokens"}
        counts = Counts(self.ask.input_tokens, self.output_tokens, self.thought)
        del value["usage"]
        report(value, self.script, of_response(self.script, counts))
        return value

    def failed(self) -> dict[str, Any]:
        """The response as a failure leaves it."""
        error: Any = stream_error(self.script)["error"]
        told = {"code": error.get("code") or "server_error", "message": error.get("message")}
        return {**self._document("failed", []), "error": told}

    def _document(self, status: str, output: list[Item]) -> dict[str, Any]:
        given = {name: self.body[name] for name in _ECHOED if self.body.get(name) is not None}
        return {
            "id": self.stamp.ident("resp_"),
            "object": "response",
            "created_at": self.stamp.created,
            "status": status,
            "completed_at": self.stamp.created if status == "completed" else None,
            "error": None,
            "incomplete_details": None,
            "model": self.ask.model,
            "output": output,
            **_ECHOED,
            **given,
            "usage": None,
        }


def part(text: str) -> Item:
    """The content of a message."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


class ResponseStream:
    """The events of one streamed response, numbered as they are made."""

    def __init__(self, answer: ResponseAnswer) -> None:
        self._answer = answer
        self._sse = Sse(answer.script)
        self._number = 0
        self._is_tool = answer.script.tool_calls
        ident = answer.item("in_progress", "")["id"]
        self._place = {"item_id": ident, "output_index": 0} | ({} if self._is_tool else {"content_index": 0})

    def events(self, finished: Callable[[], dict[str, Any]]) -> Events:
        """All events in order, each with its pieces; the last one tells the response as it ends."""
        answer = self._answer
        final = answer.final()
        for kind in ("created", "in_progress"):
            yield self._event(kind, response=self._opening(kind, final)), 0
        if final["output"]:
            yield from self._output(final["output"][0])
        yield self._event(answer.status, response=finished()), 0

    def failure(self) -> bytes:
        """What a stream says when it breaks off in its middle."""
        return self._event("failed", response=self._answer.failed())

    def _opening(self, kind: str, final: dict[str, Any]) -> dict[str, Any]:
        """Without usage, unless the script reports it twice."""
        opening = self._answer.opening()
        if kind == "in_progress" and self._answer.script.usage == "twice":
            opening["usage"] = final["usage"]
        return opening

    def _output(self, item: Item) -> Events:
        yield self._event("output_item.added", output_index=0, item=self._answer.item("in_progress", "")), 0
        yield from self._call(item) if self._is_tool else self._message(item)
        yield self._event("output_item.done", output_index=0, item=item), 0

    def _call(self, item: Item) -> Events:
        yield from self._deltas("function_call_arguments.delta")
        told = {"arguments": item["arguments"], "name": item["name"]}
        yield self._event("function_call_arguments.done", **self._place, **told), 0

    def _message(self, item: Item) -> Events:
        [content] = item["content"]
        yield self._event("content_part.added", **self._place, part=part("")), 0
        yield from self._deltas("output_text.delta", logprobs=[])
        yield self._event("output_text.done", **self._place, text=content["text"], logprobs=[]), 0
        yield self._event("content_part.done", **self._place, part=content), 0

    def _deltas(self, kind: str, **more: object) -> Iterator[tuple[bytes, int]]:
        padding = self._answer.script.padding
        more |= {"obfuscation": "x" * padding} if padding else {}
        for piece in self._answer.pieces:
            yield self._event(kind, **self._place, delta=piece, **more), 1

    def _event(self, kind: str, **more: object) -> bytes:
        value = {"type": f"response.{kind}", "sequence_number": self._number, **more}
        self._number += 1
        return self._sse.typed(value)


def rendition(answer: ResponseAnswer, keep: Callable[[dict[str, Any], int], None]) -> Rendition:
    """The answer, ready to be played; what is to be stored is given to `keep` when it ends, with its tokens."""
    ask, script, stream = answer.ask, answer.script, ResponseStream(answer)

    def finished() -> dict[str, Any]:
        final = answer.final()
        if ask.is_stored:
            keep(final, ask.input_tokens + answer.output_tokens)
        return final

    return Rendition(
        script=script,
        model=ask.model,
        prompt_tokens=ask.input_tokens,
        body=lambda: document(finished(), script),
        events=(lambda: stream.events(finished)) if ask.is_stream else None,
        error=stream.failure,
        tokens=answer.output_tokens,
        hidden=answer.thought,
        pauses=len(answer.pieces),
        content_type=EVENT_STREAM if ask.is_stream else "application/json",
    )
