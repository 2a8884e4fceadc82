"""Cutting streams into events: the same events whatever the chunks, and no byte changed."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import sse
from gateway.sse import Kind, Splitter

DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage": {"prompt_tokens":3,"completion_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
OPENAI = DELTA * 3 + USAGE + DONE
STREAMS = {
    "openai": OPENAI,
    "crlf": OPENAI.replace(b"\n", b"\r\n"),
    "cr": OPENAI.replace(b"\n", b"\r"),
    "mixed": DELTA
    + USAGE.replace(b"\n", b"\r\n")
    + DELTA.replace(b"\n\n", b"\r\n\n")
    + DELTA
    + DONE.replace(b"\n", b"\r"),
    "lf then cr": DELTA.replace(b"\n\n", b"\n\r") + USAGE.replace(b"\n\n", b"\n\r") + DONE,
    "spare lines": b"\n" + DELTA + b"\n" + DELTA + b"\n\n\n" + USAGE + b"\r\n" + DONE + b"\n",
    "comments": b": ping\n\n" + DELTA + b":\n\nid: 7\nevent: x\nretry: 3\n" + DELTA + USAGE + b": bye\n\n" + DONE,
    "many lines": b'data: {"usage":\ndata: {"prompt_tokens":1,\ndata:"completion_tokens":2}}\n\n' + DONE,
    "cut": DELTA + DELTA[:-1],
}


def events_of(blocks: list[sse.Block]) -> list[bytes]:
    return [event for _, block in blocks for event in sse.split(block)]


def feed_all(chunks: list[bytes], splitter: Splitter | None = None) -> tuple[list[sse.Block], bytes]:
    splitter = splitter or Splitter()
    blocks = [block for chunk in chunks for block in splitter.feed(chunk)]
    return blocks, splitter.rest()


def kinds(blocks: list[sse.Block]) -> list[Kind]:
    return [kind for kind, block in blocks for _ in sse.split(block)]


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_gives_the_same_events_as_at_once(name: str) -> None:
    stream = STREAMS[name]

    whole, tail = feed_all([stream])
    singly, single_tail = feed_all([stream[place : place + 1] for place in range(len(stream))])

    assert b"".join(block for _, block in singly) + single_tail == stream
    assert b"".join(block for _, block in whole) + tail == stream
    assert events_of(singly) == events_of(whole)
    assert kinds(singly) == kinds(whole)
    assert single_tail == tail


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 600)))
def test_any_split_gives_the_same_events(name: str, cuts: list[int]) -> None:
    stream = STREAMS[name]
    places = [0, *sorted(cuts), len(stream)]

    blocks, tail = feed_all([stream[start:end] for start, end in pairwise(places)])

    whole, whole_tail = feed_all([stream])
    assert events_of(blocks) == events_of(whole)
    assert kinds(blocks) == kinds(whole)
    assert tail == whole_tail


@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"data: a", b":", b'{"usage":{}}', b"[DONE]", b"\xff"]), max_size=30),
    st.data(),
)
def test_any_bytes_come_out_in_the_same_events_however_split(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))), len(stream)]

    blocks, tail = feed_all([stream[start:end] for start, end in pairwise(cuts)])

    whole, whole_tail = feed_all([stream])
    assert b"".join(block for _, block in blocks) + tail == stream
    assert (events_of(blocks), kinds(blocks), tail) == (events_of(whole), kinds(whole), whole_tail)


def test_ordinary_events_of_one_chunk_leave_as_one_block() -> None:
    assert Splitter().feed(DELTA * 3) == [(Kind.ORDINARY, DELTA * 3)]
    assert Splitter().feed(OPENAI) == [(Kind.ORDINARY, DELTA * 3), (Kind.USAGE, USAGE), (Kind.TERMINAL, DONE)]


def test_an_event_leaves_with_the_byte_that_ends_it() -> None:
    for stream in (DELTA, DELTA.replace(b"\n", b"\r\n"), DELTA.replace(b"\n", b"\r")):
        splitter = Splitter()

        assert splitter.feed(stream[:-1]) == []
        assert splitter.feed(stream[-1:]) == [(Kind.ORDINARY, stream)]


def test_an_unfinished_event_is_the_rest() -> None:
    splitter = Splitter()

    assert splitter.feed(DELTA + b"data: x\n") == [(Kind.ORDINARY, DELTA)]
    assert splitter.rest() == b"data: x\n"
    assert splitter.feed(b"") == []


def test_named_events_end_an_answer_where_they_are_asked_for() -> None:
    completed = b'event: response.completed\ndata: {"response":{"usage":{"input_tokens":1,"output_tokens":2}}}\n\n'
    started = b'event: response.created\ndata: {"response":{"usage":null,"note":"response.completed"}}\n\n'

    blocks, _ = feed_all([started + completed], Splitter([b"response.completed"]))

    assert [kind for kind, _ in blocks] == [Kind.ORDINARY, Kind.TERMINAL]
    assert Splitter().feed(completed) == [(Kind.USAGE, completed)]


def test_text_of_an_answer_is_never_taken_for_usage_or_the_end() -> None:
    text = b'data: [DONE] \\"usage\\": {\\"prompt_tokens\\":1}'
    spoken = b'data: {"choices":[{"delta":{"content":"%b"}}],"usage":null}\n\n' % text

    assert Splitter().feed(spoken) == [(Kind.ORDINARY, spoken)]
    assert not sse.may_hold_usage(spoken)
    assert not sse.is_done(spoken)


@pytest.mark.parametrize("text", [b'"usage":{', b'"usage" : {', b'"usage"\t:\n{'])
def test_an_object_named_usage_is_seen(text: bytes) -> None:
    assert sse.may_hold_usage(b"data: {" + text + b'"prompt_tokens":1}}\n\n')


@pytest.mark.parametrize("text", [b'"usage":null', b'"usage": null', b'"usage"', b'"usages":{', b'"usage":[{'])
def test_other_members_are_not_taken_for_usage(text: bytes) -> None:
    assert not sse.may_hold_usage(b"data: {" + text + b"}\n\n")


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (b"data: {}\n\n", b"{}"),
        (b"data:{}\r\n\r\n", b"{}"),
        (b"data:  x\r\r", b" x"),
        (b"data: a\ndata: b\ndata:\n\n", b"a\nb\n"),
        (b"data\n\n", b""),
        (b": note\nid: 1\nevent: e\ndata: x\nretry: 5\n\n", b"x"),
        (b"datax: no\n\n", b""),
        (b"\n\ndata: late\n\n", b"late"),
        (b": ping\n\n", b""),
        (b"data: unfinished", b"unfinished"),
    ],
)
def test_payload_of_an_event(event: bytes, payload: bytes) -> None:
    assert sse.data(event) == payload


def test_name_of_an_event() -> None:
    assert sse.event_name(b"event: error\ndata: {}\n\n") == b"error"
    assert sse.event_name(b"data: {}\n\n") == b""


@pytest.mark.parametrize("event", [DONE, b"data:[DONE]\r\n\r\n", b": x\ndata: [DONE] \n\n"])
def test_the_end_is_seen(event: bytes) -> None:
    assert sse.is_done(event)


@pytest.mark.parametrize("size", [1000, 65_536, 3_000_000])
def test_an_event_above_the_cap_passes_in_pieces_and_the_next_is_read(size: int) -> None:
    huge = b"data: " + b"x" * (2 * sse.MAX_EVENT_BYTES) + b"\n\n"
    stream = DELTA + huge + USAGE + DONE if size != 3_000_000 else DELTA + huge[:-1] + b"\n" + USAGE + DONE
    splitter = Splitter()
    blocks: list[sse.Block] = []
    held = 0

    for place in range(0, len(stream), size):
        blocks += splitter.feed(stream[place : place + size])
        held = max(held, len(splitter.rest()))

    assert b"".join(block for _, block in blocks) == stream
    assert blocks[-2:] == [(Kind.USAGE, USAGE), (Kind.TERMINAL, DONE)]
    assert held <= sse.MAX_EVENT_BYTES
    assert (Kind.OVERSIZE in {kind for kind, _ in blocks}) == (size < 3_000_000)


def test_an_oversize_event_that_ends_with_the_chunk_leaves_nothing_behind() -> None:
    splitter = Splitter()

    first = splitter.feed(b"data: " + b"x" * (sse.MAX_EVENT_BYTES + 10))
    last = splitter.feed(b"y\n\n")

    assert {kind for kind, _ in first + last} == {Kind.OVERSIZE}
    assert splitter.rest() == b""
    assert splitter.feed(DELTA) == [(Kind.ORDINARY, DELTA)]


NAMED = b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r"%b}}\n\n'
TYPED = b'data: {"type":"response.completed","response":{"id":"r"%b}}\n\n'
TERMINAL = (b"response.completed", b"response.failed")
USED = b',"usage":{"input_tokens":3,"output_tokens":5}'


@pytest.mark.parametrize("ending", [NAMED, TYPED, TYPED.replace(b"type", b" type").replace(b'" type"', b'"type" ')])
def test_an_answer_ends_with_an_event_of_that_name_or_of_that_type(ending: bytes) -> None:
    blocks, _ = feed_all([DELTA + ending % USED], Splitter(TERMINAL))

    assert [kind for kind, _ in blocks] == [Kind.ORDINARY, Kind.TERMINAL]


@pytest.mark.parametrize(
    "event",
    [
        b'event: response.created\ndata: {"type":"response.created","text":"response.completed"}\n\n',
        b'data: {"delta":"event: response.completed"}\n\n',
        b'data: {"response":{"type":"response.completed"}}\n\n',
        b": response.completed\n\n",
        b"data: response.completed\n\n",
        b'data: ["response.completed"]\n\n',
        b'data: {"type":["response.completed"]}\n\n',
    ],
)
def test_what_only_speaks_of_the_end_is_not_the_end(event: bytes) -> None:
    assert [kind for kind, _ in feed_all([event], Splitter(TERMINAL))[0]] == [Kind.ORDINARY]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'data: {"type":"x"}\n\n', b"x"),
        (b'data: {"type":5}\n\n', b""),
        (b"data: [1]\n\n", b""),
        (b"data: {\n\n", b""),
        (b"data: " + b"[" * 100_000 + b"\n\n", b""),
        (b"\n\n", b""),
    ],
)
def test_type_of_an_event(event: bytes, kind: bytes) -> None:
    assert sse.event_type(event) == kind


IMAGE = b',"b64_json":"' + b"iVBOR" * (sse.MAX_EVENT_BYTES // 4) + b'"'
OVERSIZE = {
    "terminal by name": NAMED.replace(b'"type":"response.completed",', b"") % (IMAGE + USED),
    "terminal by type": TYPED % (IMAGE + USED),
    "not terminal": b'data: {"type":"image_generation.partial_image"%b}\n\n' % IMAGE,
    "not terminal, with usage": b'data: {"type":"other"%b}\n\n' % (IMAGE + USED),
    "speaks of the end": b'data: {"type":"other","text":"response.completed"%b}\n\n' % IMAGE,
}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("name", OVERSIZE)
def test_an_oversize_event_is_the_end_only_if_it_begins_so_and_its_tail_stays_in_one_piece(
    name: str, line_end: bytes
) -> None:
    stream = (DELTA + OVERSIZE[name] + DELTA).replace(b"\n", line_end)
    splitter, blocks, held = Splitter(TERMINAL), list[sse.Block](), 0

    for place in range(0, len(stream), 65_536):
        blocks += splitter.feed(stream[place : place + 65_536])
        held = max(held, len(splitter.rest()))

    assert b"".join(block for _, block in blocks) == stream
    kinds_seen = [kind for kind, _ in blocks]
    assert kinds_seen[0] == kinds_seen[-1] == Kind.ORDINARY
    assert set(kinds_seen[1:-2]) == {Kind.OVERSIZE}
    kind, last = blocks[-2]
    assert kind == (Kind.TERMINAL if name.startswith("terminal") else Kind.OVERSIZE)
    assert (USED in last) == (USED in stream)
    assert held <= sse.MAX_EVENT_BYTES


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(OVERSIZE)), st.lists(st.integers(0, 1_400_000), max_size=8), st.lists(st.integers(0, 200))
)
def test_any_split_of_an_oversize_event_gives_the_same_bytes_and_the_same_end(
    name: str, cuts: list[int], near_the_end: list[int]
) -> None:
    stream = DELTA + OVERSIZE[name] + USAGE
    end = len(stream) - len(USAGE)
    # One cut before its end, or it is not known to be oversize: whoever has the whole event reads the whole event.
    places = sorted({0, len(stream), end - 1, *cuts, *(end - 100 + cut for cut in near_the_end)})
    pieces = [stream[start:stop] for start, stop in pairwise(places)]

    blocks, tail = feed_all(pieces, Splitter(TERMINAL))

    assert b"".join(block for _, block in blocks) == stream
    assert tail == b""
    assert (Kind.TERMINAL in {kind for kind, _ in blocks}) == name.startswith("terminal")
    assert blocks[-1] == (Kind.USAGE, USAGE)
    assert blocks[0][0] == Kind.ORDINARY
