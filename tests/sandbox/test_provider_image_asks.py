from typing import Any

import pytest

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_form import Form, Part
from sentinel.sandbox.provider_image_asks import PER_INPUT_IMAGE, parse_edit, parse_generation, parse_variation

NEW = "gpt-image-1"


def images(*names: str, **fields: Any) -> Form:
    return Form(fields, [Part(name, "a.png", "image/png", b"x") for name in names])


def test_an_image_costs_by_its_size_and_quality() -> None:
    def cost(**fields: Any) -> int:
        return parse_generation(Form({"model": NEW, "prompt": "hello world", **fields})).per_image

    assert [cost(), cost(quality="low"), cost(size="1024x1536", quality="high")] == [1056, 272, 6240]
    assert parse_generation(Form({"prompt": "hello world"})).per_image == 0


def test_given_images_and_a_mask_count() -> None:
    ask = parse_edit(images("image[]", "image[]", "mask", model=NEW, prompt="hello world"))

    assert (ask.text_tokens, ask.image_tokens) == (2, 3 * PER_INPUT_IMAGE)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": "a" * 4001}, "prompt"),
        ({"prompt": "a", "n": 11}, "n"),
        ({"prompt": "a", "n": 2, "model": "dall-e-3"}, "n"),
        ({"prompt": "a", "stream": True}, "stream"),
        ({"prompt": "a", "stream": True, "n": 2, "model": NEW}, "n"),
        ({"prompt": "a", "stream": True, "partial_images": 4, "model": NEW}, "partial_images"),
        ({"prompt": "a", "partial_images": 1, "model": NEW}, "partial_images"),
        ({"prompt": "a", "response_format": "url", "model": NEW}, "response_format"),
        ({"prompt": "a", "size": "1x1"}, "size"),
        ({"prompt": "a", "quality": "hd", "model": NEW}, "quality"),
    ],
)
def test_a_bad_generation_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_generation(Form(fields))

    assert refused.value.error["param"] == param


def test_edits_and_variations_need_images_and_a_model_that_takes_them() -> None:
    for parse, form in (
        (parse_edit, images(prompt="a")),
        (parse_edit, images("image", prompt="a", model="dall-e-3")),
        (parse_variation, images("image", model=NEW)),
        (parse_variation, images("image", "image")),
    ):
        with pytest.raises(Refused):
            parse(form)
