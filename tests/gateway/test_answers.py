"""Reading what a model wrote."""

import pytest

from gateway import answers


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"choices":[{"text":"a b"},{"text":" c"}]}', "a b c"),
        (b'{"output":[{"content":[{"text":"a"}]},{"arguments":"b"}]}', "ab"),
        (b'{"data":[{"embedding":[1,2]}]}', ""),
        (b'{"choices":"odd"}', "odd"),
        (b"plain words", "plain words"),
        (b"\xff", "\ufffd"),
    ],
)
def test_text_of_a_plain_reply(payload: bytes, text: str) -> None:
    assert "".join(answers.plain_output_texts(payload)) == text


def test_a_block_is_read_in_bulk_or_event_by_event_with_the_same_result() -> None:
    event = b'data: {"choices":[{"index":2,"delta":{"content":"data: x"}}]}\n\n'

    bulk, none = answers.read_block(event * 3)
    singly, bad = answers.read_block(event * 2 + b": ping\n\ndata: {\n\n" + event)

    assert bulk == singly
    assert (none, bad) == (0, 1)


def test_each_choice_of_a_plain_answer_is_counted_apart() -> None:
    reply = b'{"choices":[{"message":{"content":"It is open."}},{"message":{"content":"open"}}]}'

    assert answers.plain_output_texts(reply)[:2] == ["It is open.", "open"]
