"""What a call asks for, and what changes in its body on the way up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import estimate
from gateway.bodies import Body
from gateway.estimate import Estimate
from sentinel.exceptions import BadRequest

MESSAGES = [{"role": "user", "content": "one two"}]


def words(text: str, model: str) -> int:
    return len(text.split())


def chat(**members: object) -> Estimate:
    return estimate.read_chat(body_of(**members), words)


def completion(**members: object) -> Estimate:
    return estimate.read_completion(Body.parse(dump({"model": "m", "prompt": "one two", **members})), words)


def body_of(**members: object) -> Body:
    return Body.parse(dump({"model": "gpt-4o", "messages": MESSAGES, **members}))


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def sent(body: Body, *, granted: int | None = None, field: str = "max_completion_tokens") -> bytes:
    asked = estimate.read_chat(body, words)
    return body.splice(*estimate.upstream_changes(body, asked, cap_field=field, granted_cap=granted))


def test_a_plain_chat() -> None:
    assert chat() == Estimate(
        model="gpt-4o", stream=False, wants_usage=False, input_tokens=9, choices=1, cap=None, caps=()
    )


def test_null_means_absent() -> None:
    nothing = dict.fromkeys(["stream", "stream_options", "n", "max_tokens", "max_completion_tokens"])

    assert chat(**nothing) == chat()


def test_the_larger_of_two_caps_is_held_and_both_are_known() -> None:
    asked = chat(max_tokens=7, max_completion_tokens=5, n=3)

    assert (asked.cap, asked.choices) == (7, 3)
    assert dict(asked.caps) == {"max_tokens": 7, "max_completion_tokens": 5}


def test_choices_of_a_completion_multiply_with_its_prompts() -> None:
    asked = completion(prompt=["a", "b", "c"], n=2, best_of=4, max_tokens=9)

    assert (asked.choices, asked.cap, asked.input_tokens) == (12, 9, 3)


def test_a_completion_without_a_cap_has_the_api_default() -> None:
    assert (completion().cap, completion().caps) == (estimate.LEGACY_DEFAULT_CAP, ())


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [-1, 0, 1.5, 1e3, "5", True, False, 2**53, 10**30, [], {}])
def test_a_number_that_is_no_positive_integer_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        chat(**{name: value})

    assert refusal.value.param == name


@pytest.mark.parametrize("value", [-1, 0, "5", True, 2.5])
def test_best_of_is_checked_alike(value: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        completion(best_of=value)

    assert refusal.value.param == "best_of"


@pytest.mark.parametrize(
    "model", [None, "", 5, True, [], "a" * 129, "gpt-4\n", "a\x00b", "a\x7f", "a\u2028b", "\ud800"]
)
def test_a_model_must_be_a_short_printable_text(model: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        chat(model=model)

    assert refusal.value.param == "model"


def test_the_longest_model_passes() -> None:
    assert chat(model="a" * 128).model == "a" * 128


@pytest.mark.parametrize("stream", ["true", 1, 0, [], {}])
def test_stream_is_never_guessed(stream: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        chat(stream=stream)

    assert refusal.value.param == "stream"


@pytest.mark.parametrize("options", ["usage", 5, [], True, {"include_usage": 1}, {"include_usage": "true"}])
def test_stream_options_are_checked(options: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        chat(stream=True, stream_options=options)

    assert refusal.value.param == "stream_options"


@pytest.mark.parametrize("stream", [None, False])
def test_stream_options_need_a_stream(stream: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        chat(stream=stream, stream_options={"include_usage": True})

    assert refusal.value.param == "stream_options"


@pytest.mark.parametrize(
    ("options", "wants"), [({}, False), ({"include_usage": None}, False), ({"include_usage": True}, True)]
)
def test_whether_the_caller_wants_usage(options: object, *, wants: bool) -> None:
    assert chat(stream=True, stream_options=options).wants_usage is wants


def test_a_plain_call_without_a_grant_goes_up_as_it_came() -> None:
    body = body_of(temperature=0.10)

    assert sent(body) == body.raw


def test_a_stream_always_asks_for_usage() -> None:
    body = body_of(stream=True)

    assert sent(body) == body.raw[:-1] + b',"stream_options":{"include_usage":true}}'


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (b"null", b'{"include_usage":true}'),
        (b"{}", b'{"include_usage":true}'),
        (b'{ "include_usage" : false, "x": 1.0 }', b'{ "include_usage" : true, "x": 1.0 }'),
        (b'{"x":1.0}', b'{"x":1.0,"include_usage":true}'),
        (b'{"include_usage":null}', b'{"include_usage":true}'),
        (b'{ "include_usage": true }', b'{ "include_usage": true }'),
        (b'{"include_usage":true,"x":1,"include_usage":false}', b'{"include_usage":true,"x":1}'),
        (b'{"include_usage":false,"include_usage":true}', b'{"include_usage":true}'),
    ],
)
def test_stream_options_keep_their_other_members(options: bytes, changed: bytes) -> None:
    raw = b'{"model":"m","stream":true,"stream_options":%b,"messages":[]}'

    assert sent(Body.parse(raw % options)) == raw % changed


def test_a_granted_cap_is_added_where_there_was_none() -> None:
    assert json.loads(sent(body_of(), granted=50))["max_completion_tokens"] == 50
    assert json.loads(sent(body_of(), granted=50, field="max_tokens"))["max_tokens"] == 50
    assert sent(body_of(max_completion_tokens=None), granted=50).endswith(b'"max_completion_tokens": 50}')


def test_given_caps_are_lowered_in_place_and_never_raised() -> None:
    both = body_of(max_tokens=70, max_completion_tokens=30)

    assert sent(both, granted=50) == both.raw.replace(b"70", b"50")
    assert sent(both, granted=20) == both.raw.replace(b"70", b"20").replace(b"30", b"20")
    assert sent(both, granted=90) == both.raw


def test_the_default_of_a_completion_is_written_down_only_when_lowered() -> None:
    body = Body.parse(b'{"model":"m","prompt":"p"}')
    asked = estimate.read_completion(body, words)

    assert estimate.upstream_changes(body, asked, cap_field="max_tokens", granted_cap=16) == ({}, {})
    assert estimate.upstream_changes(body, asked, cap_field="max_tokens", granted_cap=4) == ({}, {"max_tokens": b"4"})


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o-mini", 16_384),
        ("gpt-4o-2024-05-13", 4_096),
        ("gpt-4.1-nano", 32_768),
        ("gpt-4-turbo-2024-04-09", 4_096),
        ("gpt-4-0613", 8_192),
        ("gpt-3.5-turbo", 4_096),
        ("o1-mini", 65_536),
        ("o1", 100_000),
        ("o3-mini", 100_000),
        ("gpt-5-mini", 128_000),
        ("ft:gpt-4o-mini:acme::1", 16_384),
        ("ft:", None),
        ("llama-3", None),
    ],
)
def test_published_maxima_of_output(model: str, tokens: int | None) -> None:
    assert estimate.max_output_tokens(model) == tokens


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["model", "messages", "prompt", "stream", "stream_options", "n", "best_of", "max_tokens", "tools"]
)


@given(st.dictionaries(names, odd), st.integers(1, 100))
def test_any_body_is_refused_or_estimated(members: dict[str, object], granted: int) -> None:
    for read in (estimate.read_chat, estimate.read_completion):
        try:
            body = Body.parse(dump({"model": "m", "messages": [], "prompt": "p", **members}))
            asked = read(body, words)
        except BadRequest:
            continue
        changes = estimate.upstream_changes(body, asked, cap_field="max_tokens", granted_cap=granted)
        after = read(Body.parse(body.splice(*changes)), words)
        assert after.wants_usage == asked.stream
        assert after.cap == (granted if asked.cap is None else min(granted, asked.cap))
