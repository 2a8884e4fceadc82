from typing import Any

import openai
import pytest

from tests.servers import Served

MODEL = "gpt-5"


def test_a_stored_response_is_read_gone_on_from_and_deleted(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="hello world")
    second = client.responses.create(model=MODEL, input="hello world", previous_response_id=first.id)

    assert client.responses.retrieve(first.id) == first
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens == first.usage.input_tokens + first.usage.total_tokens
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(first.id)


def test_a_response_that_is_not_to_be_stored_is_not(client: openai.OpenAI, provider: Served) -> None:
    unstored = client.responses.create(model=MODEL, input="a", store=False)
    forgotten = client.responses.create(model=MODEL, input="a")
    provider.tell("/_control/reset")

    never: Any = [1]
    for ident in (unstored.id, forgotten.id, never):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model=MODEL, input="a", previous_response_id=ident)
        assert refused.value.code == "previous_response_not_found"
