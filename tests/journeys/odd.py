"""Odd but legal content: members of requests, and answers. Bytes, since bytes are what must not change."""

from collections.abc import Mapping

HUGE = 1_300_000  # more than an event that the gateway holds

# Members of a JSON object that the provider may know and the gateway does not.
MEMBERS: Mapping[str, bytes] = {
    "numbers beyond a double": b'"x_far": [1e400, -1E+400, 4.9e-999, 1.0000000000000000001, 0.1e-7, -0, -0.0, 1E0]',
    "integers beyond 64 bits": b'"x_long": [18446744073709551616, -123456789012345678901234567890, 9007199254740993]',
    "escapes of all kinds": rb'"x_escaped": "\u00e9\u0065\/\"\\\b\f\n\r\t\u0000 \ud83d\ude00 \u2028"',
    "lone surrogates": rb'"x_lone": ["\ud800", "\udc00\ud800", "\uD83D \uDE00"], "\ud800": "a name"',
    "characters as they are": '"x_ünïcode": "日本語 🙂\u2028\u2029\x7f", "🙂": "naïve"'.encode(),
    "names twice inside of a member": rb'"x_twice": {"a": 1, "a": 2, "\u0061": 3, "model": "other", "model": "third"}',
    "names like those that are read": b'"Model": "other", "model ": 1, " n": 9, "STREAM": true, "": false',
    "white space": b'\t"x_spaced" \r\n : [ 1 ,\n\n2\t, { } , [ ] ]  ',
    "emptiness": b'"x_list": [], "x_object": {}, "x_null": null, "x_text": "", "x_nested": [[], {}, [[]], ""]',
    "depth": b'"x_deep": ' + b"[" * 150 + b"]" * 150,
    "length": b'"x_large": "' + b"0123456789abcdef" * 4096 + b'"',
    "text that looks like JSON": rb'"x_inner": "{\"model\": \"other\", \"stream\": true}", "x_end": "}"',
    "members that the provider knows": (
        b'"logit_bias": {"50256": -100, "1": 1.0}, "seed": 9007199254740993, "temperature": 0.30000000000000004, '
        b'"top_p": 1, "presence_penalty": -0.0, "frequency_penalty": 2e0, "user": "\\u0061da", "logprobs": false'
    ),
}

_CHUNK = b'{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[%b]%b}'
_COUNTS = b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}'


def chunk(delta: bytes, *, more: bytes = b"", finish: bytes = b"null") -> bytes:
    """The payload of an event with a piece of an answer; `more` are members at its end."""
    return _CHUNK % (b'{"index":0,"delta":%b,"finish_reason":%b}' % (delta, finish), more)


def usage(more: bytes = b"") -> bytes:
    """The payload of the event that carries usage and nothing else."""
    return _CHUNK % (b"", b"," + _COUNTS + more)


HELLO, BYE = chunk(b'{"role":"assistant","content":"Hell"}'), chunk(b'{"content":"o"}', finish=b'"stop"')
USAGE = usage()


def events(*payloads: bytes, line: bytes = b"\n") -> bytes:
    """A stream of these payloads."""
    return b"".join(b"data: " + payload + line * 2 for payload in payloads)


def whole(line: bytes = b"\n") -> bytes:
    """An ordinary stream."""
    return events(HELLO, BYE, USAGE, b"[DONE]", line=line)


# Whole streams of chat completions, and in each the event that a client gets only when it asked for it.
STREAMS: Mapping[str, tuple[bytes, bytes]] = {
    "ordinary": (whole(), events(USAGE)),
    "CRLF": (whole(b"\r\n"), events(USAGE, line=b"\r\n")),
    "CR alone": (whole(b"\r"), events(USAGE, line=b"\r")),
    "line ends of all kinds": (
        b"data: " + HELLO + b"\r\n\n" + b"data: " + BYE + b"\n\r\n" + events(USAGE, b"[DONE]", line=b"\r\n"),
        events(USAGE, line=b"\r\n"),
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + whole(), events(USAGE)),
    "comments, and one to keep alive": (
        b": hello\n\n:\n\n"
        + events(HELLO)
        + b": keep-alive\n\n"
        + events(BYE, USAGE)
        + b":\n:\n\n"
        + events(b"[DONE]"),
        events(USAGE),
    ),
    "blank lines too many": (
        b"\n\n\n" + events(HELLO, BYE) + b"\n" + events(USAGE, b"[DONE]") + b"\n\n",
        b"\n" + events(USAGE),
    ),
    "data over several lines": (
        b"data: " + HELLO.replace(b',"choices"', b',\ndata:"choices"') + b"\n\n" + events(BYE, USAGE, b"[DONE]"),
        events(USAGE),
    ),
    "no space after the colon": (whole().replace(b"data: ", b"data:"), b"data:" + USAGE + b"\n\n"),
    "unknown fields, names and types of events": (
        b'event: ping\nid: 7\nretry: 3000\ndata: {"type":"ping"}\n\nfoo: bar\nnonsense\n\n'
        + events(HELLO, b'{"type":"response.unheard_of","x":[1e400]}', b"not JSON {", BYE, USAGE, b"[DONE]"),
        events(USAGE),
    ),
    "odd members in every event": (
        events(
            *(chunk(b'{"content":"a"}', more=b"," + odd.strip()) for odd in MEMBERS.values() if b"\n" not in odd),
            BYE,
            USAGE,
            b"[DONE]",
        ),
        events(USAGE),
    ),
    "numbers beyond a double beside usage": (
        events(HELLO, BYE, usage(b',"x":1e400'), b"[DONE]"),
        events(usage(b',"x":1e400')),
    ),
    "integers beyond 64 bits beside usage": (
        events(HELLO, BYE, usage(b',"x":123456789012345678901234567890'), b"[DONE]"),
        events(usage(b',"x":123456789012345678901234567890')),
    ),
    "lone surrogates beside usage": (
        events(HELLO, BYE, usage(rb',"x":"\ud800"'), b"[DONE]"),
        events(usage(rb',"x":"\ud800"')),
    ),
    "lone surrogates in text": (events(chunk(rb'{"content":"\ud83d"}'), BYE, USAGE, b"[DONE]"), events(USAGE)),
    "usage as null in every event": (
        events(chunk(b'{"content":"a"}', more=b',"usage":null'), BYE, USAGE, b"[DONE]"),
        events(USAGE),
    ),
    "usage in the last event with text": (
        events(HELLO, chunk(b'{"content":"o"}', more=b"," + _COUNTS, finish=b'"stop"'), b"[DONE]"),
        b"",
    ),
    "usage in text": (
        events(chunk(rb'{"content":"\"usage\": {\"prompt_tokens\": 9}"}'), USAGE, b"[DONE]"),
        events(USAGE),
    ),
    "the end in text": (events(chunk(b'{"content":"data: [DONE]"}'), BYE, USAGE, b"[DONE]"), events(USAGE)),
    "white space in JSON": (
        events(HELLO, BYE, USAGE.replace(b'"choices":[]', b'"choices" : [ ]'), b" [DONE] "),
        events(USAGE.replace(b'"choices":[]', b'"choices" : [ ]')),
    ),
    "no blank line at the end": (events(HELLO, BYE, USAGE) + b"data: [DONE]", events(USAGE)),
    "no end at all": (events(HELLO, BYE, USAGE), events(USAGE)),
    "something after the end": (whole() + b": bye\n\n" + events(b'{"x":1}'), events(USAGE)),
    "a huge event": (events(chunk(b'{"content":"%b"}' % (b"a" * HUGE)), BYE, USAGE, b"[DONE]"), events(USAGE)),
    "a huge comment": (b": " + b"z" * HUGE + b"\n\n" + whole(), events(USAGE)),
    "no event": (b"", b""),
}


def typed(kind: bytes, more: bytes, *, line: bytes = b"\n") -> bytes:
    """An event that has its type as its name."""
    return b'event: %b%bdata: {"type":"%b"%b}%b' % (kind, line, kind, more, line * 2)


_RESPONSE = b',"response":{"id":"r-1","object":"response","status":"completed","output":[],%b}'
_TOLD = b'"usage":{"input_tokens":5,"output_tokens":2,"total_tokens":7}'
_DELTA, _COMPLETED = b"response.output_text.delta", b"response.completed"

# Whole streams whose events have types; nothing in them is extra.
TYPED_STREAMS: Mapping[str, bytes] = {
    "ordinary": typed(_DELTA, b',"delta":"a"') + typed(_COMPLETED, _RESPONSE % _TOLD),
    "CRLF": typed(_DELTA, b',"delta":"a"', line=b"\r\n") + typed(_COMPLETED, _RESPONSE % _TOLD, line=b"\r\n"),
    "CR alone": typed(_DELTA, b',"delta":"a"', line=b"\r") + typed(_COMPLETED, _RESPONSE % _TOLD, line=b"\r"),
    "a byte order mark and comments": (
        b"\xef\xbb\xbf: hi\n\n" + typed(_DELTA, b',"delta":"a"') + b":\n\n" + typed(_COMPLETED, _RESPONSE % _TOLD)
    ),
    "types that nobody knows": (
        typed(b"response.unheard_of", b',"x":1e400')
        + typed(b"error_of_nothing", b"")
        + typed(_COMPLETED, _RESPONSE % _TOLD)
    ),
    "usage early, and again": (
        typed(b"response.in_progress", _RESPONSE % _TOLD) + typed(_COMPLETED, _RESPONSE % (_TOLD + b',"x":[1.0,1e400]'))
    ),
    "a huge event in the middle": (
        typed(_DELTA, b',"delta":"%b"' % (b"a" * HUGE)) + typed(_COMPLETED, _RESPONSE % _TOLD)
    ),
    "a huge event at the end": typed(_COMPLETED, _RESPONSE % (b'"x":"%b",' % (b"b" * HUGE) + _TOLD)),
    "no blank line at the end": typed(_DELTA, b',"delta":"a"') + typed(_COMPLETED, _RESPONSE % _TOLD)[:-2],
    "something after the end": typed(_COMPLETED, _RESPONSE % _TOLD) + b": bye\n\n" + typed(_DELTA, b',"delta":"b"'),
}

_ANSWER = (
    b'{"id":"c-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],%b%b}'
)

# Whole plain answers.
ANSWERS: Mapping[str, bytes] = {
    **{f"with {name}": _ANSWER % (_COUNTS + b",", odd) for name, odd in MEMBERS.items()},
    "with usage first": b"{%b,%b" % (_COUNTS, (_ANSWER % (b"", b'"x":1'))[1:]),
    "without usage": _ANSWER % (b"", b'"x":1'),
    "with usage as null": _ANSWER % (b'"usage":null,', b'"x":1'),
    "with usage twice": _ANSWER % (_COUNTS + b",", _COUNTS),
    "in white space": b"\r\n\t " + (_ANSWER % (_COUNTS, b"")).replace(b",", b" ,\r\n\t") + b"\n\n",
    "with an error among its members": _ANSWER % (_COUNTS + b",", rb'"error":null,"x":{"error":"n\u00f3ne"}'),
    "huge": _ANSWER % (_COUNTS + b",", b'"x":"' + b"y" * HUGE + b'"'),
}

# How a provider may tear its answer into writes: sizes, over and over.
SPLITS: Mapping[str, object] = {
    "in one": "none",
    "byte by byte": [1],
    "in odd pieces": [3, 1, 2, 17, 1, 1, 5, 64],
    "in pieces that end in the middle of a line end": [len(b"data: " + HELLO) + 1, 1, 4096],
}
