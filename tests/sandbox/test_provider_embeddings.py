import struct
from base64 import b64decode
from typing import Any

import openai
import pytest

from sentinel.sandbox.provider_embeddings import DIMENSIONS
from tests.sandbox.calls import ask, last_call, scripted
from tests.servers import Served

MODEL = "text-embedding-3-small"
PATH = "/v1/embeddings"


def test_every_input_has_its_vector_and_the_client_parses_them(client: openai.OpenAI, provider: Served) -> None:
    made = client.embeddings.create(model=MODEL, input=["hello world", "hello"], user="ada")

    assert [each.index for each in made.data] == [0, 1]
    assert [len(each.embedding) for each in made.data] == [DIMENSIONS, DIMENSIONS]
    assert (made.object, made.model, made.data[0].object) == ("list", MODEL, "embedding")
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (3, 3)
    call = last_call(provider)
    assert (call["who"], call["model"], call["prompt_tokens"], call["pieces"]) == ("ada", MODEL, 3, 0)


def test_a_vector_follows_from_its_input_and_is_the_same_in_both_forms(provider: Served, client: openai.OpenAI) -> None:
    body = {"model": MODEL, "input": "hello world", "dimensions": 8}
    plain = ask(provider, {**body, "encoding_format": "float"}, PATH).json()["data"][0]["embedding"]
    coded = ask(provider, {**body, "encoding_format": "base64"}, PATH).json()["data"][0]["embedding"]
    parsed = client.embeddings.create(model=MODEL, input="hello world", dimensions=8)

    assert list(struct.unpack("<8f", b64decode(coded))) == plain == parsed.data[0].embedding
    assert len(set(plain)) == 8


@pytest.mark.parametrize(
    ("given", "tokens", "vectors"), [("hello world", 2, 1), ([1, 2, 3], 3, 1), ([[1, 2], [3]], 3, 2), ([1], 1, 1)]
)
def test_every_form_of_an_input_is_counted(client: openai.OpenAI, given: Any, tokens: int, vectors: int) -> None:
    made = client.embeddings.create(model=MODEL, input=given, dimensions=4096)

    assert (made.usage.prompt_tokens, len(made.data), len(made.data[-1].embedding)) == (tokens, vectors, 4096)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"input": []}, 400),
        ({"input": {}}, 400),
        ({"input": ["a"] * 2049}, 400),
        ({"input": "a " * 9000}, 400),
        ({"dimensions": 4097}, 400),
        ({"encoding_format": "hex"}, 400),
        ({"model": "gpt-4o"}, 403),
        ({"model": "nobody"}, 404),
    ],
)
def test_a_bad_call_is_refused(provider: Served, fields: dict[str, Any], status: int) -> None:
    assert ask(provider, {"model": MODEL, "input": "a", **fields}, PATH).status_code == status


def test_a_script_is_carried_in_metadata(provider: Served) -> None:
    def usage(**script: Any) -> Any:
        body = {"model": MODEL, "input": "hello world", "metadata": scripted(**script)}
        return ask(provider, body, PATH).json().get("usage", "none")

    assert usage(usage="negative") == {"prompt_tokens": -2, "total_tokens": -2}
    assert usage(usage="omit") == "none"
    assert usage(usage="null") is None
