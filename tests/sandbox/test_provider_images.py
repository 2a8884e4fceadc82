import zlib
from base64 import b64decode
from hashlib import sha256
from typing import Any

import httpx
import openai
import pytest

from sentinel.sandbox.cast import PROVIDER_KEY
from sentinel.sandbox.provider_image_asks import PER_INPUT_IMAGE, PER_PARTIAL
from sentinel.sandbox.provider_images import png
from tests.sandbox.calls import ask, events, last_call, scripted
from tests.servers import Served

NEW = "gpt-image-1"
PATH = "/v1/images/generations"
BODY: dict[str, Any] = {"model": NEW, "prompt": "hello world"}


def test_pictures_are_valid_and_differ() -> None:
    first, second = png(0), png(1)

    assert first != second
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    at = first.index(b"IDAT")
    data = first[at + 4 : at + 4 + int.from_bytes(first[at - 4 : at])]
    assert len(zlib.decompress(data)) == 8 * (1 + 8 * 3)
    assert zlib.crc32(b"IDAT" + data) == int.from_bytes(first[at + 4 + len(data) :][:4])


def test_images_are_made_with_their_usage(client: openai.OpenAI, provider: Served) -> None:
    made = client.images.generate(model=NEW, prompt="hello world", n=2, quality="low", user="ada")

    assert [b64decode(image.b64_json or "") for image in made.data or ()] == [png(0), png(1)]
    assert (made.quality, made.size, made.output_format, made.background) == ("low", "1024x1024", "png", "opaque")
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (2, 544, 546)
    assert (made.usage.input_tokens_details.text_tokens, made.usage.input_tokens_details.image_tokens) == (2, 0)
    call = last_call(provider)
    assert (call["who"], call["prompt_tokens"], call["pieces"]) == ("ada", 2, 544)


def test_older_models_report_nothing_and_may_answer_with_an_address(client: openai.OpenAI, provider: Served) -> None:
    default = client.images.generate(prompt="hello world")
    coded = client.images.generate(model="dall-e-3", prompt="hello world", response_format="b64_json")

    assert (default.data or [])[0].url == "https://images.sandbox.invalid/1/0.png"
    assert default.usage is None
    assert b64decode((coded.data or [])[0].b64_json or "") == png(0)
    assert (coded.data or [])[0].revised_prompt is not None
    assert [call["model"] for call in provider.ask("/_control/calls")] == ["dall-e-2", "dall-e-3"]


def test_a_stream_shows_partial_images_first(client: openai.OpenAI, provider: Served) -> None:
    seen = list(client.images.generate(model=NEW, prompt="hello world", stream=True, partial_images=2, quality="low"))

    *partial, last = seen
    assert [(event.type, b64decode(event.b64_json)) for event in partial] == [
        ("image_generation.partial_image", png(0)),
        ("image_generation.partial_image", png(1)),
    ]
    assert last.type == "image_generation.completed"
    assert last.usage.output_tokens == 272 + 2 * PER_PARTIAL
    assert (last.size, last.quality) == ("1024x1024", "low")
    assert last_call(provider)["pieces"] == last.usage.output_tokens


def test_an_edit_is_streamed_and_its_images_arrive_intact(client: openai.OpenAI, provider: Served) -> None:
    given = [("a.png", png(3), "image/png"), ("b.png", png(4), "image/png")]
    seen = list(client.images.edit(model=NEW, image=given, mask=png(5), prompt="hello world", stream=True, user="ben"))

    [last] = seen
    assert last.type == "image_edit.completed"
    assert last.usage.input_tokens_details.image_tokens == 3 * PER_INPUT_IMAGE
    call = last_call(provider)
    files = {part["filename"]: part for part in call["parts"] if part["filename"]}
    assert (call["who"], call["stream"]) == ("ben", True)
    assert (files["a.png"]["sha256"], files["a.png"]["bytes"]) == (sha256(png(3)).hexdigest(), len(png(3)))
    assert files["b.png"]["content_type"] == "image/png"
    assert call["content_type"].startswith("multipart/form-data; boundary=")


def test_edits_and_variations_answer_plainly(client: openai.OpenAI) -> None:
    edited = client.images.edit(model=NEW, image=png(3), prompt="hello world", n=2)
    with pytest.deprecated_call():
        varied = client.images.create_variation(image=png(3), n=2, response_format="b64_json")

    assert len(edited.data or ()) == len(varied.data or ()) == 2
    assert edited.usage is not None
    assert (edited.usage.input_tokens, varied.usage) == (2 + PER_INPUT_IMAGE, None)


def test_a_script_fixes_tokens_and_misbehaves(client: openai.OpenAI, provider: Served) -> None:
    fixed = ask(provider, {**BODY, "metadata": scripted(pieces=7, usage="string")}, PATH).json()
    broken = ask(
        provider, {**BODY, "stream": True, "partial_images": 2, "metadata": scripted(error_event_after=1)}, PATH
    )

    assert fixed["usage"]["output_tokens"] == "7"
    assert [event.get("type", "error") for event in events(broken)] == ["image_generation.partial_image", "error"]
    provider.tell("/_control/script", {"status": 503})
    with pytest.raises(openai.InternalServerError):
        client.images.edit(model=NEW, image=png(3), prompt="hello world")


def test_a_form_that_is_torn_is_refused(provider: Served) -> None:
    headers = {"authorization": f"Bearer {PROVIDER_KEY}", "content-type": "multipart/form-data; boundary=x"}
    reply = httpx.post(provider.url + "/v1/images/edits", content=b"--x\r\n", headers=headers, trust_env=False)

    assert reply.status_code == 400
