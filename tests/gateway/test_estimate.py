"""What a call asks for, and what changes in its body on the way up."""

import json
from collections.abc import Callable

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
        ("gpt-4-32k-0613", 32_768),
        ("gpt-3.5-turbo-16k", 16_384),
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


Read = Callable[[Body, Callable[[str, str], int]], Estimate]


def response(read: Read = estimate.read_stored_responses, **members: object) -> Estimate:
    return read(Body.parse(dump({"model": "gpt-4o", "input": "one two", **members})), words)


def test_a_response_has_its_own_cap_and_reports_usage_unasked() -> None:
    asked = response(max_output_tokens=50, stream=True)

    assert (asked.model, asked.stream, asked.wants_usage) == ("gpt-4o", True, None)
    assert (asked.choices, asked.cap, asked.caps) == (1, 50, (("max_output_tokens", 50),))
    assert asked.input_tokens == 3 + 4 + 2
    assert response(max_tokens=5).cap is None


@pytest.mark.parametrize("value", [0, -1, "5", 2.5, True])
def test_the_cap_of_a_response_is_checked(value: object) -> None:
    with pytest.raises(BadRequest) as refusal:
        response(max_output_tokens=value)

    assert refusal.value.param == "max_output_tokens"


def test_a_stream_of_a_response_goes_up_as_it_came_but_for_its_cap() -> None:
    body = Body.parse(b'{"model":"gpt-4o", "input":"x" ,"stream":true}')
    asked = estimate.read_stored_responses(body, words)

    def changes(granted: int | None) -> tuple[dict[str, bytes], dict[str, bytes]]:
        return estimate.upstream_changes(body, asked, cap_field="max_output_tokens", granted_cap=granted)

    assert changes(None) == ({}, {})
    assert body.splice(*changes(50)) == body.raw[:-1] + b',"max_output_tokens":50}'


@pytest.mark.parametrize(
    ("raw", "sent_up"),
    [
        (b'{"model":"m","input":"x"}', b'{"model":"m","input":"x","store":false}'),
        (b'{"model":"m","store":null,"input":"x"}', b'{"model":"m","store":false,"input":"x"}'),
        (b'{"model":"m","store": 1 ,"input":"x"}', b'{"model":"m","store": false ,"input":"x"}'),
        (b'{"model":"m","store":"true","input":"x"}', b'{"model":"m","store":false,"input":"x"}'),
        (b'{"model":"m","store":false,"input":"x"}', b'{"model":"m","store":false,"input":"x"}'),
    ],
)
def test_a_response_that_nobody_could_read_later_is_not_stored_whatever_it_says(raw: bytes, sent_up: bytes) -> None:
    body = Body.parse(raw)
    asked = estimate.read_responses(body, words)

    changes = estimate.upstream_changes(body, asked, cap_field="max_output_tokens", granted_cap=None)

    assert body.splice(*changes) == sent_up


def test_storing_is_refused_where_it_is_closed_and_left_to_the_caller_where_it_is_open() -> None:
    for read in (estimate.read_responses, estimate.read_chat):
        with pytest.raises(BadRequest) as refusal:
            read(body_of(input="x", store=True), words)
        assert refusal.value.param == "store"
        read(body_of(input="x", store=False), words)

    assert response(store=True).forced == response().forced == ()


@pytest.mark.parametrize("read", [estimate.read_responses, estimate.read_stored_responses])
def test_work_in_the_background_is_refused(read: Read) -> None:
    with pytest.raises(BadRequest) as refusal:
        response(read, background=True)

    assert refusal.value.param == "background"
    assert response(read, background=False) == response(read, background=None) == response(read)


def test_embeddings_ask_for_input_alone() -> None:
    asked = estimate.read_embeddings(Body.parse(dump({"model": "e", "input": ["one two", "three"]})), words)

    assert asked == Estimate("e", False, None, input_tokens=3, choices=0, cap=None)
    assert estimate.read_embeddings(Body.parse(dump({"model": "e", "input": [[1, 2], [3]]})), words).input_tokens == 3


@pytest.mark.parametrize("members", [{"model": "e"}, {"input": "x"}, {"model": "e", "input": {}}])
def test_embeddings_need_a_model_and_an_input(members: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        estimate.read_embeddings(Body.parse(dump(members)), words)


def test_a_moderation_asks_for_a_request_and_has_a_model_of_its_own() -> None:
    asked = estimate.read_moderation(Body.parse(b'{"input":"one two"}'), words)

    assert asked == Estimate(estimate.DEFAULT_MODERATION, False, None, 0, choices=0, cap=None, is_counted=False)
    assert estimate.read_moderation(Body.parse(b'{"model":"m","input":[]}'), words).model == "m"
    with pytest.raises(BadRequest):
        estimate.read_moderation(Body.parse(b'{"model":5}'), words)


@pytest.mark.parametrize(
    ("raw", "model", "stream"),
    [
        (b'{"model":"m", "stream":true, "x":1}', "m", True),
        (b'{"x":"one two"}', "", False),
        (b'{"model":{"id":"m"},"stream":"true"}', "", False),
        (b'{"model":null,"stream":1}', "", False),
        (b"{}", "", False),
    ],
)
def test_of_a_body_that_nobody_knows_all_text_may_be_input(raw: bytes, model: str, stream: bool) -> None:
    asked = estimate.read_anything(Body.parse(raw), words)

    assert (asked.model, asked.stream, asked.input_tokens) == (model, stream, len(raw.split()))
    assert (asked.choices, asked.cap, asked.is_counted) == (0, None, False)


def test_a_model_of_a_body_that_nobody_knows_is_checked_all_the_same() -> None:
    with pytest.raises(BadRequest):
        estimate.read_anything(Body.parse(dump({"model": "a" * 129})), words)


@given(st.dictionaries(st.sampled_from(["model", "input", "stream", "store", "background", "max_output_tokens"]), odd))
def test_any_other_body_is_refused_or_estimated(members: dict[str, object]) -> None:
    readers = (
        estimate.read_responses, estimate.read_stored_responses, estimate.read_embeddings, estimate.read_moderation,
        estimate.read_anything,
    )  # fmt: skip
    for read in readers:
        try:
            asked = read(Body.parse(dump({"model": "m", "input": "x", **members})), words)
        except BadRequest:
            continue
        assert asked.input_tokens >= 0
        assert not (read is estimate.read_responses and members.get("store") is True)
