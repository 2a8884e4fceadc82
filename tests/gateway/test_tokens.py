"""Counting tokens, compared with tiktoken."""

import random

import pytest
import splintr
import tiktoken
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway import tokens
from tests.oracle import RANKS, encodings

MODELS = {"o200k_base": "gpt-4o", "cl100k_base": "gpt-4"}
CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's 12,345.67 o'clock, isn't it?",
    'def f(x: int) -> dict[str, int]:\n\treturn {"a": x ** 2}  # comment\r\n\r\n',
    '{"model":"gpt-4o","messages":[{"role":"user","content":"\\u00e4\\n"}]}',
    "Füße, garçon, naïve, Ærø, żółć, Ελληνικά, Русский, עברית, العربية, हिन्दी, ไทย",
    "お誕生日おめでとう 中文字符 한국어 𠜎𠜱 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪",
    "a" * 5000,
    " " * 3000 + "\n" * 300 + "\t\t\t ",
    "".join(map(chr, range(0x250))),
    "<|endoftext|> <|im_start|>system<|im_end|> <|fim_prefix|> <| |>",
    "<|start|>assistant<|channel|>final<|message|>",
    "e\u0301 \u200d\u200b\ufeff\u2028",
]
WORDS = [
    "apple",
    "Banana's",
    "don't",
    "42",
    "007",
    "---",
    "/*",
    "x",
    "*/",
    "https://e.org/?q=1",
    "ΑΒΓ",
    "東京",
    "😀",
    "\n\t",
    "",
    "",
]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tiktoken.Encoding]:
    return encodings(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("encoding", RANKS)
@pytest.mark.parametrize("text", CORPUS, ids=range(len(CORPUS)))
def test_counts_equal_the_oracle(oracle: dict[str, tiktoken.Encoding], encoding: str, text: str) -> None:
    assert tokens.count(text, MODELS[encoding]) == len(oracle[encoding].encode_ordinary(text))


@pytest.mark.parametrize("encoding", RANKS)
def test_counts_of_random_texts_equal_the_oracle(oracle: dict[str, tiktoken.Encoding], encoding: str) -> None:
    draw = random.Random(7)

    for length in (1, 3, 10, 100, 2000):
        text = draw.choice(["", " "]).join(draw.choices(WORDS, k=length))
        assert tokens.count(text, MODELS[encoding]) == len(oracle[encoding].encode_ordinary(text))


@given(text=st.text(), encoding=st.sampled_from(sorted(RANKS)))
def test_counts_of_any_text_equal_the_oracle(oracle: dict[str, tiktoken.Encoding], text: str, encoding: str) -> None:
    assume("'\u017f" not in text)  # known to differ by one token in o200k

    assert tokens.count(text, MODELS[encoding]) == len(oracle[encoding].encode_ordinary(text))


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Hello, world!", 4),
        ("The quick brown fox", 4),
        ("Testing tokenization accuracy.", 5),
        ("I love programming", 3),
        ("42", 1),
        (" ", 1),
        ("hello.", 2),
        ("hello .", 2),
        ("", 0),
        ("user", 1),
        ("assistant", 1),
        ("system", 1),
        ("developer", 1),
        ("tool", 1),
        ("function", 1),
    ],
)
def test_known_values(text: str, number: int, model: str) -> None:
    assert tokens.count(text, model) == number


def test_the_encodings_differ_where_they_should() -> None:
    assert (tokens.count("don't", "gpt-4"), tokens.count("don't", "gpt-4o")) == (2, 1)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_a_marker_in_the_text_is_ordinary_text(model: str) -> None:
    assert tokens.count("<|endoftext|>", model) == 7


@pytest.mark.parametrize("encoding", RANKS)
def test_every_marker_of_an_encoding_begins_with_the_pair_that_is_looked_for(encoding: str) -> None:
    table = splintr.Tokenizer.from_pretrained(encoding)
    ranks = range(RANKS[encoding], RANKS[encoding] + 200)
    names = []
    for rank in ranks:
        try:
            names.append(table.decode_with_special([rank]))
        except ValueError:
            continue

    assert len(names) > 50
    assert all(name.startswith("<|") for name in names if name)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3", "o200k_base"),
        ("llama-3", "o200k_base"),
        ("", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("ft:gpt-3.5-turbo:acme::1", "cl100k_base"),
    ],
)
def test_encoding_of_a_family(model: str, encoding: str) -> None:
    assert tokens.encoding_for(model) == encoding


def test_above_the_cap_bytes_stand_for_tokens() -> None:
    assert tokens.count("ä" * tokens.MAX_BYTES, "gpt-4o") == 2 * tokens.MAX_BYTES
    assert tokens.count("a " * (tokens.MAX_BYTES // 4), "gpt-4o") <= tokens.MAX_BYTES // 2


@pytest.mark.parametrize("text", ["\ud800", "a \udfff b", "\ud83d x", "<| \ud800"])
def test_lone_surrogates_are_counted_as_replaced(oracle: dict[str, tiktoken.Encoding], text: str) -> None:
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    assert tokens.count(text, "gpt-4o") == len(oracle["o200k_base"].encode_ordinary(whole))


def test_warming_up_twice_is_harmless() -> None:
    tokens.warm()
    tokens.warm()

    assert tokens.count("42", "gpt-4o") == 1
