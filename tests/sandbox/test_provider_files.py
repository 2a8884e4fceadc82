from hashlib import sha256
from typing import Any

import httpx
import openai
import pytest

from sentinel.sandbox.cast import PROVIDER_KEY
from sentinel.sandbox.provider_speech import audio
from tests.sandbox.calls import last_call
from tests.servers import Served


def upload(client: openai.OpenAI, name: str = "a.jsonl", data: bytes = b"{}\n", purpose: Any = "batch") -> str:
    return client.files.create(file=(name, data), purpose=purpose).id


def test_a_file_is_read_back_as_it_was_given(client: openai.OpenAI, provider: Served) -> None:
    data = audio(2_000_000)
    made = client.files.create(file=("a b.bin", data), purpose="user_data", extra_body={"user": "ada"})

    assert (made.filename, made.bytes, made.purpose, made.status) == ("a b.bin", 2_000_000, "user_data", "processed")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).content == data
    first = provider.ask("/_control/calls")[0]
    assert first["who"] == "ada"
    assert sha256(data).hexdigest() in {part["sha256"] for part in first["parts"]}
    assert last_call(provider)["path"] == f"/v1/files/{made.id}/content"


def test_files_are_listed_page_by_page_the_newest_first(client: openai.OpenAI) -> None:
    idents = [upload(client, f"{at}.jsonl") for at in range(5)]

    page = client.files.list(limit=2)
    rest = client.files.list(limit=10, after=idents[2])

    assert ([file.id for file in page.data], page.has_more) == ([idents[4], idents[3]], True)
    assert ([file.id for file in rest.data], rest.has_more) == ([idents[1], idents[0]], False)
    assert [file.id for file in client.files.list(limit=2)] == idents[::-1]
    assert [file.id for file in client.files.list(order="asc", limit=1).data] == idents[:1]
    assert client.files.list(purpose="vision").data == []


def test_a_deleted_file_is_gone(client: openai.OpenAI, provider: Served) -> None:
    ident = upload(client)

    provider.tell("/_control/script", {"status": 500})
    with pytest.raises(openai.InternalServerError):
        client.files.delete(ident)
    provider.clear("/_control/script")

    assert client.files.delete(ident).deleted is True
    for missing in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            missing(ident)


def test_a_file_that_was_refused_is_not_kept(client: openai.OpenAI, provider: Served) -> None:
    provider.tell("/_control/script", {"status": 429})
    with pytest.raises(openai.RateLimitError):
        upload(client)
    provider.clear("/_control/script")
    with pytest.raises(openai.BadRequestError):
        upload(client, purpose="fun")

    assert client.files.list().data == []


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "order=up", "after=file-none"])
def test_a_bad_page_is_refused(provider: Served, query: str) -> None:
    headers = {"authorization": f"Bearer {PROVIDER_KEY}"}
    reply = httpx.get(f"{provider.url}/v1/files?{query}", headers=headers, trust_env=False)

    assert reply.status_code == 400
