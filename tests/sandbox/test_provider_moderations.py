from typing import Any

import openai
import pytest

from tests.sandbox.calls import ask, last_call
from tests.servers import Served

PATH = "/v1/moderations"
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def test_every_input_is_judged_and_the_client_parses_it(client: openai.OpenAI, provider: Served) -> None:
    made = client.moderations.create(input=["hello world", "something violent"])

    calm, bad = made.results
    assert (calm.flagged, bad.flagged, bad.categories.violence, bad.categories.hate) == (False, True, True, False)
    assert bad.category_scores.violence > 0.9
    assert calm.category_applied_input_types.self_harm_intent == ["text"]
    assert made.model == "omni-moderation-latest"
    call = last_call(provider)
    assert (call["model"], call["prompt_tokens"], call["pieces"]) == ("omni-moderation-latest", 4, 0)


def test_parts_are_one_input_and_no_usage_is_reported(client: openai.OpenAI, provider: Served) -> None:
    parts: Any = [{"type": "text", "text": "hello"}, IMAGE]
    [result] = client.moderations.create(model="omni-moderation-latest", input=parts).results

    assert result.category_applied_input_types.violence == ["text", "image"]
    assert "usage" not in ask(provider, {"input": "hello"}, PATH).json()


@pytest.mark.parametrize("given", [None, "", [], 7, ["a", IMAGE], [{"type": "sound"}]])
def test_a_bad_input_is_refused(provider: Served, given: object) -> None:
    assert ask(provider, {"input": given}, PATH).status_code == 400
