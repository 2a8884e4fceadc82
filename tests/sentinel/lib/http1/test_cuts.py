"""Any cut of an answer means the same, and whatever comes ends as complete or broken."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.sentinel.lib.http1.origin import CHUNKED, OK, REQUEST
from tests.sentinel.lib.http1.wire import Exchange, outcome

HEAD = b"HTTP/1.1 200 OK\r\n"
PLAIN = (
    HEAD + b"Content-Type: application/json\r\nContent-Length: 17\r\nX-Request-Id: r-1\r\n\r\n" + b'{"a":"b","c":"d"}'
)
STREAM = (
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    + CHUNKED
    + b'e\r\ndata: {"a":1}\n\r\n1\r\n\n\r\ne;ext=1\r\ndata: [DONE]\n\n\r\n0\r\nX-Trailer: late\r\n\r\n'
)
UNTIL_END = HEAD + b"content-type: text/plain\r\n\r\nto the end"
RECORDED = {
    "plain": PLAIN,
    "stream": STREAM,
    "until the end": UNTIL_END,
    "empty": OK.replace(b"2\r\n\r\nok", b"0\r\n\r\n"),
}
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
@FUZZ
@given(places=st.lists(st.integers(1, len(STREAM)), max_size=12))
@example(places=list(range(300)))
async def test_any_cut_of_an_answer_gives_the_same_answer(recorded: bytes, places: list[int]) -> None:
    whole, pieces = Exchange(), Exchange()

    whole.feed(recorded)
    pieces.feed(*cut(recorded, places))
    if recorded is UNTIL_END:
        whole.end()
        pieces.end()

    answer = await outcome(whole.response)
    assert answer == await outcome(pieces.response)
    assert answer[3] == "complete"
    assert whole.may_be_used_again == pieces.may_be_used_again == (recorded is not UNTIL_END)


mutations = st.lists(
    st.tuples(st.sampled_from(["flip", "drop", "insert", "repeat"]), st.integers(0, 400), st.binary(max_size=6)),
    max_size=6,
)


def mutated(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, extra in changes:
        at = place % (len(data) + 1)
        middle = {"flip": extra, "drop": b"", "insert": extra + data[at : at + 1], "repeat": data[at : at + 40] * 2}[
            kind
        ]
        data = data[:at] + middle + data[at + (40 if kind == "repeat" else 1) :]
    return data


@settings(FUZZ, max_examples=1500)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.builds(mutated, st.sampled_from(sorted(RECORDED.values())), mutations),
        st.builds(lambda tail: HEAD + tail, st.binary(max_size=100)),
    ),
    places=st.lists(st.integers(1, 400), max_size=5),
)
async def test_whatever_comes_the_answer_is_complete_or_broken(data: bytes, places: list[int]) -> None:
    open_still, closed = Exchange(), Exchange()

    open_still.feed(*cut(data, places))
    closed.feed(*cut(data, places))
    closed.end()

    begun, ended = await outcome(open_still.response), await outcome(closed.response)
    assert ended[3] in {"complete", "broken"}
    assert begun[3] in {"open", ended[3]}
    assert begun[3] == "complete" or not open_still.may_be_used_again
    assert closed.wire.written == REQUEST
