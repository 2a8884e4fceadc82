import pytest

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_models import MODELS, model_of


def test_every_model_answers_what_it_is_for() -> None:
    assert {model_of({"model": name}, model.kind)[0] for name, model in MODELS.items()} == set(MODELS)
    assert model_of({}, "image", "dall-e-2")[0] == "dall-e-2"


@pytest.mark.parametrize(
    ("model", "status"), [(None, 400), ("", 400), (7, 400), ("gpt-9", 404), ("whisper-1", 403), ("dall-e-2", 403)]
)
def test_a_model_that_is_not_there_or_for_something_else_is_refused(model: object, status: int) -> None:
    with pytest.raises(Refused) as refused:
        model_of({"model": model})

    assert refused.value.status == status
