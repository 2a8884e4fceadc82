import re

import orjson

from gateway.call import mint_id
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
