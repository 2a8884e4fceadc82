from typing import Any

import pytest

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_tokens import ascii_pieces, input_tokens, json_tokens, sentence, text_tokens


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_a_sentence_of_any_length_is_as_many_tokens_as_pieces(encoding: str) -> None:
    assert text_tokens("".join(sentence(100)), encoding) == 100


def test_a_text_is_cut_into_its_tokens() -> None:
    pieces = ascii_pieces('{"city":"Paris","population":2100000}', "o200k_base")

    assert "".join(pieces) == '{"city":"Paris","population":2100000}'
    assert len(pieces) == text_tokens("".join(pieces), "o200k_base")


def test_nothing_is_no_tokens() -> None:
    assert (json_tokens(None, "o200k_base"), json_tokens([], "o200k_base")) == (0, 0)
    assert json_tokens({"a": 1}, "o200k_base") == text_tokens('{"a":1}', "o200k_base")


@pytest.mark.parametrize("given", [[True], {}, [], [[]], ["a", 1], [[1], "a"], None])
def test_what_is_neither_text_nor_tokens_is_refused(given: Any) -> None:
    with pytest.raises(Refused):
        input_tokens(given, "input", "o200k_base")
