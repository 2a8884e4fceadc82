"""How the provider's simulator counts tokens, and the pieces of which its answers are made: one token each. Pure.

Every piece of the sentence is exactly one token in both of OpenAI's encodings, also when all are counted together, so
that what was served can be counted without a tokenizer. It holds characters of two and three bytes, so that splits
meet them.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import orjson
from splintr import AnyTokenizer, Tokenizer

from sentinel.sandbox.provider_checks import Refused

SENTENCE = ("The", " café", " by", " the", " harbour", " is", " open", " today", " —", " and", " very", " quiet", ".")
ARGUMENTS = ('{"', "city", '":"', "Paris", '"}')
PER_IMAGE = 85  # an image at low detail


@lru_cache(maxsize=2)
def _tokenizer(encoding: str) -> AnyTokenizer:
    return Tokenizer.from_pretrained(encoding)


def text_tokens(text: str, encoding: str) -> int:
    """Tokens of a text in which no special token is recognised."""
    return len(_tokenizer(encoding).encode_ordinary(text))


def json_tokens(value: object, encoding: str) -> int:
    """Tokens of a value's JSON; of nothing, none."""
    return text_tokens(orjson.dumps(value).decode(), encoding) if value else 0


def ascii_pieces(text: str, encoding: str) -> list[str]:
    """An ASCII text as its tokens: each is a text of its own."""
    tokenizer = _tokenizer(encoding)
    return [tokenizer.decode([token]) for token in tokenizer.encode_ordinary(text)]


def sentence(count: int, source: Sequence[str] = SENTENCE) -> Iterator[str]:
    """So many pieces: the sentence, over and over."""
    for at in range(count):
        piece = source[at % len(source)]
        yield f" {piece}" if at and piece == "The" else piece


def input_tokens(value: object, name: str, encoding: str) -> Sequence[int]:
    """Tokens of each input: a text, a list of texts, token ids, or a list of lists of token ids. Raises Refused."""
    if isinstance(value, str):
        return [text_tokens(value, encoding)]
    if isinstance(value, list) and value:
        if all(isinstance(each, str) for each in value):
            return [text_tokens(each, encoding) for each in value]
        if _are_ids(value):
            return [len(value)]
        if all(isinstance(each, list) and each and _are_ids(each) for each in value):
            return [len(each) for each in value]
    raise Refused(400, f"Invalid type for '{name}'.", name, "invalid_type")


def _are_ids(values: Sequence[object]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)
