"""Finding usage in replies and streams, and counting what was received when there is none."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import answers, meter
from gateway.meter import StreamMeter
from gateway.reported import Problem, Usage, read_usage
from gateway.sse import MAX_EVENT_BYTES, Kind, Splitter, split
from tests.gateway.test_sse import STREAMS
from usage.values import Details


def words(text: str) -> int:
    return len(text.split())


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(text: str, *, index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return event({"object": "chat.completion.chunk", "choices": [choice], "usage": None})


def usage(read: object, written: object) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": read, "completion_tokens": written}})


DONE = b"data: [DONE]\n\n"


def watch(*chunks: bytes, terminal: tuple[bytes, ...] = ()) -> StreamMeter:
    splitter, watching = Splitter(terminal), StreamMeter(words)
    for chunk in chunks:
        for kind, block in splitter.feed(chunk):
            watching.add(kind, block)
    return watching


def test_a_complete_stream_reports_its_usage() -> None:
    watching = watch(delta("Hello"), delta(" there", finish="stop"), usage(9, 2), DONE)

    assert watching.usage == Usage(9, 2)
    assert watching.is_complete
    assert watching.has_finished()
    assert watching.problem is None
    assert watching.received() == 2


def test_the_last_usable_usage_wins() -> None:
    watching = watch(usage(9, 1), usage(9, 4), usage(9, -1))

    assert watching.usage == Usage(9, 4)
    assert watching.problem is Problem.INVALID


def test_usage_of_a_terminal_event_counts() -> None:
    completed = event({"response": {"usage": {"input_tokens": 4, "output_tokens": 6}}})

    watching = watch(b"event: response.completed\n" + completed, terminal=(b"response.completed",))

    assert watching.usage == Usage(4, 6)
    assert watching.is_complete


def test_usage_in_the_last_piece_of_text_keeps_the_text() -> None:
    last = event(
        {"choices": [{"index": 0, "delta": {"content": "end"}}], "usage": {"prompt_tokens": 1, "completion_tokens": -2}}
    )

    assert watch(delta("the "), last).received() == 2


def test_a_cut_stream_is_counted_over_all_choices() -> None:
    watching = watch(delta("one two "), delta("uno dos tres", index=1), delta("three"))

    assert not watching.is_complete
    assert not watching.has_finished()
    assert watching.received() == 6


def test_every_delta_that_says_something_counts_at_least_one() -> None:
    watching = watch(*[delta("a")] * 7, delta(""), event({"choices": [{"delta": {"role": "assistant"}}]}))

    assert watching.received() == 7


@pytest.mark.parametrize(
    "said",
    [
        {"content": "one two three"},
        {"content": None, "refusal": "one two three"},
        {"reasoning_content": "one two three"},
        {"reasoning": "one two three"},
        {"function_call": {"name": "one", "arguments": " two three"}},
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "one ", "arguments": "two three"}}]},
        {"tool_calls": [{"index": 0, "custom": {"name": "one ", "input": "two three"}}, {"index": 1}]},
        {"audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "one two three"}},
        {"content": ["one ", {"text": "two three"}]},
    ],
)
def test_all_that_a_model_says_is_counted(said: dict[str, object]) -> None:
    assert watch(event({"choices": [{"index": 0, "delta": said}]})).received() == 3
    reply = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", **said}}]}).encode()
    assert sum(map(words, answers.plain_output_texts(reply))) == 3


def test_legacy_and_responses_streams_are_counted() -> None:
    legacy = watch(event({"choices": [{"index": 0, "text": "one two", "finish_reason": "length"}]}))
    response = watch(
        b"event: response.output_text.delta\n" + event({"type": "response.output_text.delta", "delta": "one two"}),
        event({"type": "response.output_text.done", "text": "one two"}),
    )

    assert legacy.received() == response.received() == 2


def test_events_that_are_not_understood_are_counted_and_hide_nothing() -> None:
    watching = watch(delta("one "), b"data: <html>\n\n", b": ping\n\n", event({"choices": "none"}), delta("two three"))

    assert watching.received() == 4
    assert watching.unparsable == 2


def test_lone_surrogates_are_counted() -> None:
    assert watch(delta("one "), event({"choices": [{"delta": {"content": "two \ud800"}}]})).received() == 3


def test_a_piece_of_an_oversize_event_counts_one() -> None:
    watching = StreamMeter(words)

    watching.add(Kind.OVERSIZE, b"x" * 100)

    assert (watching.received(), watching.unparsable) == (1, 1)


def test_asking_twice_gives_the_same() -> None:
    watching = watch(delta("one two "))

    assert watching.received() == watching.received() == 2


def test_memory_is_bounded_however_long_the_stream() -> None:
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return words(text)

    watching, block = StreamMeter(count), delta("word " * 20) * 50

    for _ in range(100):
        watching.add(Kind.ORDINARY, block)

    assert watching.received() == 100 * 50 * 20
    assert len(counted) > 1
    assert max(counted) <= meter.TEXT_CHARACTERS + 2 * meter.PENDING_BYTES


STREAM = delta("one ") + delta("two", index=1) + usage(5, 1) + delta("three", finish="stop") + usage(5, 3) + DONE


@given(st.lists(st.integers(0, len(STREAM))), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_gives_the_same_figures(cuts: list[int], line_end: bytes) -> None:
    stream = STREAM.replace(b"\n", line_end)
    places = [0, *sorted(cuts), len(stream)]

    watching = watch(*[stream[start:end] for start, end in pairwise(places)])

    assert (watching.usage, watching.is_complete, watching.received()) == (Usage(5, 3), True, 3)


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_of_the_corpus_gives_the_same_figures_byte_by_byte_and_cut_anywhere(name: str) -> None:
    stream = STREAMS[name]
    splits = [[stream[at : at + 1] for at in range(len(stream))]]
    splits += [[stream[:cut], stream[cut:]] for cut in range(0, len(stream), 3)]

    seen = {(each.usage, each.is_complete, each.received()) for each in [watch(stream), *[watch(*s) for s in splits]]}

    assert len(seen) == 1


def test_any_cut_keeps_what_was_received() -> None:
    figures = [watch(STREAM[:place]).received() for place in range(0, len(STREAM), 7)]

    assert figures == sorted(figures)
    assert len(list(split(STREAM))) == 6


REPORT = b'"usage":{"input_tokens":3,"output_tokens":5,"details":{"a":[1]}}'


TERMINAL = (b"response.completed", b"response.failed", b"response.incomplete")
IMAGE = "iVBOR" * (MAX_EVENT_BYTES // 4)


def big(kind: str, used: object = None, *, name: str = "") -> bytes:
    begin = f"event: {name}\n".encode() if name else b""
    return begin + event({"type": kind, "response": {"output": IMAGE, "usage": used}})


USED = {"input_tokens": 3, "output_tokens": 5}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1_400_000), max_size=10), st.lists(st.integers(0, 200), max_size=10), st.booleans())
def test_the_usage_of_an_oversize_end_is_found_however_it_is_split(
    cuts: list[int], near_the_end: list[int], named: bool
) -> None:
    stream = delta("one ") + big("response.completed", USED, name="response.completed" if named else "")
    places = sorted({0, len(stream), *cuts, *(len(stream) - cut for cut in near_the_end)})

    watching = watch(*[stream[start:end] for start, end in pairwise(places)], terminal=TERMINAL)

    assert (watching.usage, watching.is_complete, watching.has_failed) == (Usage(3, 5), True, False)


@pytest.mark.parametrize("size", [65_536, 5_000_000])
def test_each_oversize_event_is_counted_as_one_piece_of_the_answer(size: int) -> None:
    stream = big("partial") * 2 + delta("two words ") + big("partial") + delta("more")
    chunks = [stream[place : place + size] for place in range(0, len(stream), size)]

    watching = watch(*chunks)

    assert watching.received() == (5 if size == 65_536 else 3)
    assert watching.unparsable == (3 if size == 65_536 else 0)


@pytest.mark.parametrize("size", [65_536, 3_000_000])
@pytest.mark.parametrize(
    ("kind", "failed"), [("response.completed", False), ("response.failed", True), ("response.incomplete", False)]
)
def test_a_stream_that_ends_by_failing_has_failed_whatever_its_size(kind: str, failed: bool, size: int) -> None:
    small = event({"type": kind, "response": {"usage": None}})
    large = big(kind)
    chunks = [large[place : place + size] for place in range(0, len(large), size)]

    assert watch(small, terminal=TERMINAL).has_failed is failed
    assert watch(f"event: {kind}\n".encode() + small, terminal=TERMINAL).has_failed is failed
    assert watch(*chunks, terminal=TERMINAL).has_failed is failed
    assert not watch(DONE, terminal=TERMINAL).has_failed


def test_the_usage_of_an_event_behind_an_oversize_one_is_read() -> None:
    large = big("partial")
    chunks = [large[place : place + 65_536] for place in range(0, len(large), 65_536)]

    assert watch(*chunks, usage(7, 2), DONE).usage == Usage(7, 2)
    assert watch(*chunks, delta("x") + usage(7, 2) + DONE).usage == Usage(7, 2)


def test_details_are_read_beside_the_counts_and_add_nothing_to_them() -> None:
    reported = b'"prompt_tokens":9,"completion_tokens":7,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":4}'

    plain = read_usage(b'{"usage":{%b}}' % reported)
    watching = watch(b'data: {"choices":[],"usage":{%b}}\n\n' % reported, DONE)

    assert plain == watching.usage == Usage(9, 7, Details(cached_input=4))
