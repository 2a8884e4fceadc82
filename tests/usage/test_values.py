import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usage.make import make_event
from usage.values import Details, Source, UsageEvent

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


DETAILS = st.builds(Details, *[st.just(0) | st.integers(0, 2**53)] * 5)


@given(TEXT, TEXT, st.integers(0, 2**53), st.integers(0, 2**53), st.sampled_from(Source), DETAILS)
def test_an_event_survives_its_journey(
    model: str, email: str, read: int, written: int, source: Source, details: Details
) -> None:
    event = make_event(model=model, email=email, input=read, output=written, source=source, details=details)

    assert UsageEvent.from_json(event.to_json()) == event


@given(TEXT)
def test_an_event_without_details_does_not_mention_them(request_id: str) -> None:
    raw = make_event(call_id="c1", request_id=request_id).to_json()

    assert list(orjson.loads(raw))[-2:] == ["admitted_ms", "request_id"]
    assert raw == orjson.dumps(orjson.loads(raw))


def test_details_are_written_without_those_that_are_zero() -> None:
    raw = make_event(details=Details(cached_input=4, audio_output=2)).to_json()

    assert raw.endswith(b',"details":{"cached_input":4,"audio_output":2}}')


@pytest.mark.parametrize(
    "written", [None, 5, "x", [], {"cached_input": -1}, {"cached_input": "4"}, {"audio_output": 2**60}]
)
def test_details_that_cannot_be_read_leave_the_event_as_it_is(written: object) -> None:
    event = make_event()

    assert UsageEvent.from_json(orjson.dumps({**orjson.loads(event.to_json()), "details": written})) == event


def test_details_that_this_version_does_not_know_are_passed_over() -> None:
    written = {**orjson.loads(make_event().to_json()), "details": {"cached_input": 4, "dreamt_output": 9}}

    assert UsageEvent.from_json(orjson.dumps(written)).details == Details(cached_input=4)


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
