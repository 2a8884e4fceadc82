"""What is sent and answered in every round: a chat request, a plain answer, the events of one stream. Bytes only."""

import json

MODEL = "gpt-4o-mini"
REQUEST_BYTES = 250
ANSWER_BYTES = 888
EVENTS = 100  # with content; one with the usage and [DONE] follow
SLOW_MODEL = "gpt-4o"  # asks the upstream for a slow stream: see `upstream.py`

_ID = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"
_PROMPT = "In one sentence: which numbers say most about a gateway, and how would you measure them? "


def _dense(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def request(model: str = MODEL, *, stream: bool = False) -> bytes:
    """A chat request of `REQUEST_BYTES`; without an output cap, as most clients send it."""
    told = {"model": model, **({"stream": True} if stream else {})}

    def render(text: str) -> bytes:
        return _dense({**told, "messages": [{"role": "user", "content": text}]})

    room = REQUEST_BYTES - len(render(""))
    return render((_PROMPT * 4)[:room])


def answer() -> bytes:
    """A chat completion of `ANSWER_BYTES`."""

    def render(text: str) -> bytes:
        message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        details = {"cached_tokens": 0, "audio_tokens": 0}
        output = {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0}
        usage = {"prompt_tokens": 42, "completion_tokens": 53, "total_tokens": 95, "prompt_tokens_details": details}
        return _dense(
            {
                "id": _ID,
                "object": "chat.completion",
                "created": 1741569952,
                "model": MODEL,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                "usage": {**usage, "completion_tokens_details": output},
                "service_tier": "default",
            }
        )

    room = ANSWER_BYTES - len(render(""))
    return render(("Cost per call, and what the slowest one in a hundred has to wait. " * 12)[:room])


def _chunk(choices: list[object], usage: object) -> bytes:
    told = {"id": _ID, "object": "chat.completion.chunk", "created": 1741569952, "model": MODEL, "choices": choices}
    return b"data: " + _dense({**told, "usage": usage, "obfuscation": ""}) + b"\n\n"


def events() -> list[bytes]:
    """All events of one stream, 250 bytes each, as they go over the wire: content, then usage and [DONE]."""
    choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
    content = _chunk([choice], None)
    usage = {"prompt_tokens": 42, "completion_tokens": EVENTS, "total_tokens": 42 + EVENTS}
    return [content] * EVENTS + [_chunk([], usage), b"data: [DONE]\n\n"]
