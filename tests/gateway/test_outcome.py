from dataclasses import replace

import orjson
import pytest

from gateway import sse
from gateway.call import Call
from gateway.estimate import Estimate
from gateway.meter import StreamMeter
from gateway.outcome import (
    Figures,
    event_of,
    is_event_stream,
    is_usage_only,
    may_be_anything,
    of_answer,
    of_cut_download,
    of_download,
    of_no_answer,
    of_stream,
    of_unknown,
    provider_error,
)
from gateway.reported import Usage
from gateway.uploads import Opaque, Upload
from sentinel.exceptions import CallError, UpstreamAuth, UpstreamError, UpstreamForbidden
from tests.gateway.make import CALL_ID, DONE, delta, event, make_call, make_grant, usage_chunk
from usage.values import Details, Source

UNTOLD = Estimate("dall-e-3", False, None, input_tokens=0, choices=0, cap=None, is_counted=False)
IMAGE = Estimate("gpt-image-1", False, None, input_tokens=7, choices=1, cap=6240, is_firm=True, is_counted=False)
CALL, GRANT = make_call(stream=False), make_grant()
READ = CALL.estimate.input_tokens if CALL.estimate else 0
ANSWER = orjson.dumps({"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]})
REPORTED = orjson.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}})
TERMINAL = (b"image.completed", b"response.failed")
UNREAD = make_call(metered=False)


def watched(*events: bytes) -> StreamMeter:
    meter, splitter = StreamMeter(lambda text: len(text.split())), sse.Splitter(TERMINAL)
    for kind, block in splitter.feed(b"".join(events)):
        meter.add(kind, block)
    return meter


def test_what_the_provider_reports_wins() -> None:
    assert of_answer(CALL, GRANT, 200, REPORTED) == Figures(7, 5, 1, Source.PROVIDER)


def test_an_answer_without_usage_is_counted_by_us_and_flagged() -> None:
    assert of_answer(CALL, GRANT, 200, ANSWER) == Figures(READ, 1, 1, Source.ESTIMATE)


@pytest.mark.parametrize("status", [301, 400, 401, 429, 500, 503])
def test_an_error_counts_nothing(status: int) -> None:
    assert of_answer(CALL, GRANT, status, REPORTED) == Figures(0, 0, 0, Source.PROVIDER)


def test_a_page_of_something_in_between_is_charged_as_unknown() -> None:
    assert of_answer(CALL, GRANT, 200, b"<html>Hello</html>") == Figures(READ, 0, 1, Source.PARTIAL)


def test_lists_of_models_are_never_counted() -> None:
    models = make_call(metered=False)

    assert of_answer(models, GRANT, 200, b"{}") == Figures(0, 0, 0, Source.PROVIDER)
    assert of_unknown(models, GRANT, 9) == Figures(0, 0, 0, Source.PARTIAL)


@pytest.mark.parametrize(("received", "recorded"), [(0, 0), (60, 60), (100, 100), (101, 100)])
def test_a_call_without_a_known_end_is_bounded_by_what_was_received_and_held(received: int, recorded: int) -> None:
    assert of_unknown(CALL, GRANT, received) == Figures(READ, recorded, 1, Source.PARTIAL)
    assert of_unknown(CALL, make_grant(held_input=1), received).input == 1


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([delta("a b"), usage_chunk(7, 5), DONE], Figures(7, 5, 1, Source.PROVIDER)),
        ([delta("a b"), usage_chunk(7, 5)], Figures(7, 5, 1, Source.PROVIDER)),
        ([usage_chunk(1, 1), delta("a"), usage_chunk(7, 5), DONE], Figures(7, 5, 1, Source.PROVIDER)),
        ([delta("a b", "stop"), DONE], Figures(READ, 2, 1, Source.ESTIMATE)),
        ([delta("a b"), DONE], Figures(READ, 2, 1, Source.ESTIMATE)),
        ([delta("a b", "stop")], Figures(READ, 2, 1, Source.ESTIMATE)),
        ([delta("a b")], Figures(READ, 2, 1, Source.PARTIAL)),
        ([], Figures(READ, 0, 1, Source.PARTIAL)),
    ],
)
def test_how_a_stream_ended_decides_how_its_figures_are_known(events: list[bytes], expected: Figures) -> None:
    assert of_stream(CALL, GRANT, watched(*events)) == expected


def test_a_complete_answer_is_not_bounded_by_its_hold_but_a_cut_one_is() -> None:
    grant = make_grant(held_output=1)

    assert of_stream(CALL, grant, watched(delta("a b c"), DONE)).output == 3
    assert of_stream(CALL, grant, watched(delta("a b c"))).output == 1


def test_the_event_carries_the_ids_and_the_moment_of_admission() -> None:
    event = event_of(make_call(client_id="theirs"), GRANT, Figures(7, 5, 1, Source.PROVIDER))

    assert (event.call_id, event.request_id, event.admitted_ms) == (CALL_ID, "theirs", GRANT.admitted_ms)
    assert (event.user_id, event.external_id, event.email) == ("user-ada", "ext-ada", "ada@example.com")
    assert (event.input, event.output, event.requests, event.source) == (7, 5, 1, Source.PROVIDER)
    assert (event.model, event.endpoint) == ("gpt-4o", "chat.completions")


def test_the_event_carries_the_details_that_the_provider_reported() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 3}}
    reported = {"prompt_tokens": 7, "completion_tokens": 5, **details}
    answer = orjson.dumps({"choices": [], "usage": reported})

    plain = event_of(CALL, GRANT, of_answer(CALL, GRANT, 200, answer))
    stream = watched(event(choices=[], usage=reported), DONE)
    streamed = event_of(CALL, GRANT, of_stream(CALL, GRANT, stream))

    assert plain == streamed
    assert (plain.input, plain.output, plain.details) == (7, 5, Details(reasoning_output=3))


@pytest.mark.parametrize(
    ("payload", "alone"),
    [
        (b'{"choices":[],"usage":{}}', True),
        (b'{"choices":[{}],"usage":{}}', False),
        (b'{"usage":{}}', False),
        (b'{"choices":[],"usage":{},"x":1e400}', True),
        (rb'{"choices":[],"usage":{},"x":"\ud800"}', True),
        (b"[" * 100_000, False),
        (b"[]", False),
        (b"{", False),
        (b"", False),
    ],
)
def test_which_event_is_the_extra_one(payload: bytes, alone: bool) -> None:
    assert is_usage_only(payload) is alone


@pytest.mark.parametrize(("status", "kind"), [(401, UpstreamAuth), (403, UpstreamForbidden), (302, UpstreamError),
                                              (402, UpstreamError), (418, UpstreamError)])  # fmt: skip
def test_these_answers_are_given_in_our_own_words(status: int, kind: type[CallError]) -> None:
    found = provider_error(status, [], b'{"error":{"message":"Incorrect API key sk-abc"}}')

    assert type(found) is kind
    assert "sk-" not in found.message


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 500, 502, 503, 529])
def test_other_errors_keep_status_and_body_without_our_identifiers(status: int) -> None:
    body = orjson.dumps({"error": {"message": "Limit of org-A1b2C3 in proj_x9 for sk-proj-ab***yz", "code": "x"}})

    found = provider_error(status, [], body)

    assert isinstance(found, tuple)
    assert found[0] == status
    message = orjson.loads(found[1])["error"]["message"]
    assert message == "Limit of [redacted] in [redacted] for [redacted]"


@pytest.mark.parametrize("body", [b"", b"<html>org-secret</html>", b"[1]", b'"text"', b"\xff"])
def test_an_error_without_a_readable_body_is_told_in_our_own_words(body: bytes) -> None:
    found = provider_error(503, [(b"Retry-After", b"7"), (b"Set-Cookie", b"a=b")], body)

    assert type(found) is UpstreamError
    assert (found.status, found.headers) == (503, {"Retry-After": "7"})
    assert "org-secret" not in found.message


@pytest.mark.parametrize("body", [b'{"choices":5, oops', b'{"output":' + b"[" * 600 + b"]" * 600 + b"}"])
def test_an_answer_that_nobody_can_read_is_settled_all_the_same(body: bytes) -> None:
    assert of_answer(CALL, GRANT, 200, body).source in {Source.PARTIAL, Source.ESTIMATE}


def test_an_identifier_written_with_escapes_is_scrubbed_too() -> None:
    answer = provider_error(400, [], b'{"error":{"message":"of org\\u002dCANARY12345"}}')

    assert not isinstance(answer, CallError)
    assert b"CANARY" not in answer[1]


def untexted(estimate: Estimate = IMAGE) -> Call:
    """A call whose answer is no text."""
    return replace(CALL, estimate=estimate)


def typed(kind: str, **fields: object) -> bytes:
    return b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


@pytest.mark.parametrize(
    ("call", "usage", "figures"),
    [
        (CALL, Usage(7, 0), Figures(7, 0, 1, Source.PROVIDER)),
        (CALL, None, Figures(READ, 0, 1, Source.ESTIMATE)),
        (untexted(), Usage(7, 5), Figures(7, 5, 1, Source.PROVIDER)),
        (untexted(), None, Figures(0, 0, 1, Source.PROVIDER)),
        (untexted(UNTOLD), None, Figures(0, 0, 1, Source.PROVIDER)),
        (UNREAD, Usage(7, 5), Figures(0, 0, 0, Source.PROVIDER)),
        (UNREAD, None, Figures(0, 0, 0, Source.PROVIDER)),
    ],
)
def test_a_download_counts_what_it_reports_or_what_went_up(call: Call, usage: Usage | None, figures: Figures) -> None:
    assert of_download(call, usage) == figures


@pytest.mark.parametrize(
    ("call", "figures"),
    [
        (CALL, Figures(READ, 100, 1, Source.PARTIAL)),
        (untexted(), Figures(7, 100, 1, Source.PARTIAL)),
        (untexted(UNTOLD), Figures(0, 100, 1, Source.PARTIAL)),
        (UNREAD, Figures(0, 0, 0, Source.PARTIAL)),
    ],
)
def test_a_download_that_was_cut_counts_as_much_as_was_held(call: Call, figures: Figures) -> None:
    assert of_cut_download(call, GRANT) == figures
    assert of_cut_download(call, make_grant(held_input=0, held_output=0)).output == 0


def test_an_upload_without_its_end_counts_nothing() -> None:
    upload = Upload(receive_nothing, None, 100, Opaque(), lambda _model: None)
    cut = replace(make_call(), upload=upload)
    upload.is_complete = False
    assert of_no_answer(cut, GRANT) == Figures(0, 0, 0, Source.PARTIAL)

    upload.is_complete = True
    assert of_no_answer(cut, GRANT) == of_unknown(cut, GRANT)


async def receive_nothing() -> dict[str, object]:
    raise AssertionError("nobody reads here")


def test_a_plain_answer_that_is_no_text_is_not_counted_by_us() -> None:
    assert of_answer(untexted(), GRANT, 200, b'{"data":[{"url":"one two three"}]}') == Figures(0, 0, 1, Source.PROVIDER)
    assert of_answer(untexted(), GRANT, 200, REPORTED) == Figures(7, 5, 1, Source.PROVIDER)
    assert of_answer(untexted(), GRANT, 200, b"<html>").source is Source.PARTIAL


@pytest.mark.parametrize(
    ("events", "figures"),
    [
        ([typed("image.completed", usage={"input_tokens": 7, "output_tokens": 5})], Figures(7, 5, 1, Source.PROVIDER)),
        ([typed("image.completed")], Figures(0, 0, 1, Source.PROVIDER)),
        ([typed("x", delta="one two"), DONE], Figures(0, 0, 1, Source.PROVIDER)),
        ([typed("response.failed")], Figures(7, 100, 1, Source.PARTIAL)),
        ([typed("x", delta="one two")], Figures(7, 100, 1, Source.PARTIAL)),
        ([], Figures(7, 100, 1, Source.PARTIAL)),
    ],
)
def test_a_stream_that_is_no_text_counts_what_it_reports_or_when_cut_as_much_as_was_held(
    events: list[bytes], figures: Figures
) -> None:
    assert of_stream(untexted(), GRANT, watched(*events)) == figures


def test_a_stream_that_failed_is_no_complete_answer() -> None:
    assert of_stream(CALL, GRANT, watched(delta("a b"), typed("response.failed"))).source is Source.PARTIAL


@pytest.mark.parametrize("end", [[], [DONE], [usage_chunk(7, 5), DONE]])
def test_a_stored_stream_that_is_read_again_counts_nothing(end: list[bytes]) -> None:
    assert of_stream(UNREAD, GRANT, watched(delta("a b"), *end)) == Figures(0, 0, 0, Source.PROVIDER)


JSON, PAGE, SOUND = b"application/json; charset=utf-8", b"Text/HTML; charset=utf-8", b"audio/mpeg"


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (200, SOUND, "passed"),
        (201, b"", "passed"),
        (200, JSON, "passed unless it tells of stored objects"),
        (200, JSON.title(), "passed unless it tells of stored objects"),
        (200, PAGE, "passed where nothing is metered"),
        (302, SOUND, "read"),
        (400, JSON, "read"),
        (500, SOUND, "read"),
    ],
)
def test_which_answers_are_passed_on_unread(status: int, kind: bytes, expected: str) -> None:
    headers = [(b"Content-Type", kind)] if kind else []

    def is_passed(call: Call, *, keeps: bool = False) -> bool:
        return may_be_anything(replace(call, keeps=keeps), status, headers)

    passed = [is_passed(CALL), is_passed(CALL, keeps=True), is_passed(UNREAD), is_passed(UNREAD, keeps=True)]
    assert (
        passed
        == {
            "passed": [True] * 4,
            "passed unless it tells of stored objects": [True, False, True, False],
            "passed where nothing is metered": [False, False, True, True],
            "read": [False] * 4,
        }[expected]
    )


def test_a_stream_of_events_is_known_by_its_content_type() -> None:
    assert is_event_stream(200, [(b"Content-Type", b"Text/Event-Stream; charset=utf-8")])
    assert not is_event_stream(400, [(b"content-type", b"text/event-stream")])
    assert not is_event_stream(200, [(b"content-type", b"application/json")])
    assert not is_event_stream(200, [])
