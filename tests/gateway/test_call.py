import re
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.call import Call, mint_id
from gateway.estimate import Estimate
from gateway.forms import FormWatch
from gateway.media import bound_of_transcript
from gateway.uploads import Upload
from sentinel.exceptions import BadRequest
from sentinel.lib import clock
from tests.gateway.make import make_call


def test_ids_are_unique_ordered_by_time_and_of_one_length() -> None:
    before = clock.now_ms()
    minted = [mint_id() for _ in range(2000)]

    assert len(set(minted)) == 2000
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in minted)
    stamps = [int(one[:12], 16) for one in minted]
    assert stamps == sorted(stamps)
    assert before <= stamps[0] <= stamps[-1] <= clock.now_ms()


def test_a_body_that_needs_nothing_goes_up_as_it_came() -> None:
    call = make_call(stream=False, max_tokens=5, temperature=0.1)
    assert call.body is not None

    assert call.upstream_body(5) is call.body.raw
    assert call.upstream_body(None) is call.body.raw


def test_a_grant_goes_up_as_a_cap_and_a_stream_asks_for_usage() -> None:
    sent = orjson.loads(make_call(stream=True).upstream_body(77))

    assert sent["max_completion_tokens"] == 77
    assert sent["stream_options"] == {"include_usage": True}


def test_a_cap_that_was_lowered_is_lowered_where_it_stands() -> None:
    sent = orjson.loads(make_call(stream=False, max_tokens=500).upstream_body(77))

    assert sent["max_tokens"] == 77
    assert "max_completion_tokens" not in sent


def test_a_cap_above_the_models_maximum_is_lowered_to_the_grant_all_the_same() -> None:
    sent = orjson.loads(make_call(stream=False, max_tokens=64_000).upstream_body(20_000))

    assert sent["max_tokens"] == 20_000


def test_a_grant_of_the_models_maximum_is_not_named_to_who_gave_no_cap() -> None:
    sent = orjson.loads(make_call(stream=False).upstream_body(20_000))

    assert not {"max_tokens", "max_completion_tokens"} & set(sent)


def test_what_is_not_metered_has_no_model_no_stream_and_no_body() -> None:
    call = make_call(metered=False)

    assert (call.model, call.is_stream, call.upstream_body(None)) == ("", False, b"")


def uploading(said: bytes | None, estimate: Estimate | None) -> Call:
    """A call whose form has passed and said this about its model."""

    async def receive() -> Any:
        raise AssertionError("nothing more is read")

    form = FormWatch(b"XyZ", "model")
    if said is not None:
        form.feed(b'--XyZ\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + said + b"\r\n--XyZ--\r\n")
    upload = Upload(receive, None, 100, form, lambda _model: None)
    return replace(make_call(metered=False), upload=upload, estimate=estimate)


def test_a_call_takes_the_model_that_its_form_named_and_keeps_all_else() -> None:
    call = uploading(b"whisper-1", bound_of_transcript(1000))

    named = call.with_uploaded_model()

    assert (call.model, named.model) == ("", "whisper-1")
    assert replace(named, estimate=call.estimate) == call


def test_a_call_whose_form_named_no_model_or_that_has_none_stays_as_it_is() -> None:
    unnamed, unmetered, plain = uploading(None, bound_of_transcript(1)), uploading(b"m", None), make_call()

    assert unnamed.with_uploaded_model() is unnamed
    assert unmetered.with_uploaded_model() is unmetered
    assert plain.with_uploaded_model() is plain


@pytest.mark.parametrize("name", [b"m" * 129, b"a\nb", "\u2028".encode()])
def test_a_name_that_is_none_is_refused(name: bytes) -> None:
    with pytest.raises(BadRequest):
        uploading(name, bound_of_transcript(1)).with_uploaded_model()


def test_a_cap_that_cannot_be_lowered_is_never_named() -> None:
    call = make_call(stream=False)
    firm = replace(call, estimate=bound_of_transcript(1))

    assert call.cap_to_send(77) == 77
    assert firm.cap_to_send(77) is None
    assert make_call(metered=False).cap_to_send(77) == 77


def test_what_is_text_is_counted_and_what_is_not_or_is_not_metered_is_not() -> None:
    assert make_call().is_counted
    assert not replace(make_call(), estimate=bound_of_transcript(1)).is_counted
    assert not make_call(metered=False).is_counted
    assert [make_call().requests, make_call(metered=False).requests] == [1, 0]
