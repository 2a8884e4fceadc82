import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usage.make import make_event
from usage.values import Source, UsageEvent

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(TEXT, TEXT, st.integers(0, 2**53), st.integers(0, 2**53), st.sampled_from(Source))
def test_an_event_survives_its_journey(model: str, email: str, read: int, written: int, source: Source) -> None:
    event = make_event(model=model, email=email, input=read, output=written, source=source)

    assert UsageEvent.from_json(event.to_json()) == event


@given(TEXT)
def test_the_figures_stand_where_the_correction_of_settle_looks_for_them(model: str) -> None:
    raw = make_event(model=model, input=1, output=2, requests=3).to_json()

    found = re.findall(rb'"input":(\d+),"output":(\d+),"requests":(\d+)', raw)
    assert found == [(b"1", b"2", b"3")]
    assert raw.startswith(b'{"v":1,"call_id":"')


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b"[]", b"null", b"{", b'{"v":2}', b'{"v":1}',
        orjson.dumps({**orjson.loads(make_event().to_json()), "source": "guess"}),
        orjson.dumps({**orjson.loads(make_event().to_json()), "more": 1}),
    ],
)  # fmt: skip
def test_anything_else_is_refused_as_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        UsageEvent.from_json(raw)
