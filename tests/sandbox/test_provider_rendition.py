from typing import Any

import orjson
import pytest

from sentinel.sandbox.provider_rendition import Splitter, Sse, document, stream_error
from sentinel.sandbox.provider_script import Script

TEXT = "data: The café by the harbour — " * 40


def torn(how: Any, pieces: int = 100) -> list[bytes]:
    splitter = Splitter(how)
    parts = [part for _ in range(pieces) for part in splitter.feed(TEXT.encode())]
    return [*parts, splitter.flush()]


@pytest.mark.parametrize("how", ["none", "odd", "bytes", [5], [1, 4000]])
def test_a_torn_stream_has_the_same_bytes(how: Any) -> None:
    assert b"".join(torn(how, 3)) == TEXT.encode() * 3


def test_odd_writes_break_words_and_characters() -> None:
    parts = torn("odd")

    assert any(part.endswith(b"da") for part in parts)
    assert any(part[0] & 0xC0 == 0x80 for part in parts if part)


def test_writes_have_the_sizes_that_were_given_over_and_over() -> None:
    assert [len(part) for part in torn([3, 10], 1)][:5] == [3, 10, 3, 10, 3]


def test_events_have_the_line_ends_comments_and_names_that_were_asked_for() -> None:
    assert Sse(Script()).typed({"type": "a"}) == b'event: a\ndata: {"type":"a"}\n\n'
    assert Sse(Script(crlf=True)).untyped({"type": "a"}) == b'data: {"type":"a"}\r\n\r\n'
    assert Sse(Script(comments=True)).event(b"x") == b": keep-alive\n\ndata: x\n\n"


def test_padding_and_errors_are_as_scripted() -> None:
    assert orjson.loads(document({"a": 1}, Script(padding=3))) == {"a": 1, "padding": "xxx"}
    assert stream_error(Script(error={"message": "no"})) == {"error": {"message": "no"}}
