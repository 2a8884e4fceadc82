"""Whose stored objects are: which ones a body names, which ones an answer made, and who owns them."""

import json

import pytest

from gateway import keys, objects
from sentinel import config
from sentinel.exceptions import BadRequest, NotFound, QuotaStoreUnavailable
from sentinel.lib import redis as connections
from tests.limits.make import configure, make_principal
from tests.wait import eventually

ADA, BEN = make_principal("ada"), make_principal("ben")
NAMES = [
    "assistant_id", "batch_id", "container", "container_id", "conversation", "conversation_id", "file_id",
    "input_file_id", "previous_response_id", "response_id", "run_id", "thread_id", "training_file", "validation_file",
    "vector_store_id", "eval_id", "upload_id", "skill_id", "video_id",
]  # fmt: skip


def named_in(body: object) -> set[str]:
    return set(objects.referenced(body if isinstance(body, bytes) else json.dumps(body).encode()))


@pytest.mark.parametrize("name", NAMES)
def test_a_member_of_such_a_name_names_an_object_wherever_it_stands(name: str) -> None:
    assert named_in({name: "x-1"}) == {"x-1"}
    assert named_in({"input": [{"content": [{"a": {name: "x-1"}}]}, {name: "x-2"}]}) == {"x-1", "x-2"}
    assert named_in({name: ["x-1", "x-2"]}) == {"x-1", "x-2"}
    assert named_in({name: {"id": "x-1", "other": "y"}}) == {"x-1"}
    assert named_in({name: None}) == named_in({name: 5}) == named_in({name: {"type": "auto"}}) == set()


@pytest.mark.parametrize("name", ["file_ids", "vector_store_ids", "part_ids"])
def test_a_list_names_all_that_are_in_it(name: str) -> None:
    body = {"tools": [{"type": "file_search", name: ["x-1", "x-2"]}, {"container": {"type": "auto", name: ["x-3"]}}]}

    assert named_in(body) == {"x-1", "x-2", "x-3"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"file\\u005fid":"x-1"}',
        b'{"\\u0066ile_id":"x-1"}',
        b'{"file\\u005Fid" : "x-1"}',
        b'{"\\u0063onversation":"x-1"}',
        b'{"conversatio\\u006E":{"\\u0069d":"x-1"}}',
        b'{"input":[{"type":"item\\u005freference","id":"x-1"}]}',
        b'{"input":[{"\\u0069d":"x-1"}]}',
        b'{"file_id":"x\\u002d1"}',
    ],
)
def test_a_name_written_with_escapes_is_read_too(body: bytes) -> None:
    assert named_in(body) == {"x-1"}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"type": None, "id": "msg_1"},
        {"id": "msg_1", "role": "user"},
    ],
)
def test_an_item_that_stands_only_by_its_id_is_named_and_one_that_says_something_is_not(
    item: dict[str, object],
) -> None:
    assert named_in({"input": [item]}) == named_in({"items": [item]}) == {"msg_1"}
    assert named_in({"input": [{**item, "type": "message", "content": "x"}]}) == set()


def test_a_thought_without_its_content_is_looked_up_by_its_id() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}

    assert named_in({"input": [thought]}) == {"rs_1"}
    assert named_in({"input": [{**thought, "encrypted_content": "x"}]}) == set()


def test_the_source_of_an_evaluation_and_the_video_that_another_starts_from_are_named() -> None:
    assert named_in({"data_source": {"type": "jsonl", "source": {"type": "file_id", "id": "file-1"}}}) == {"file-1"}
    assert named_in({"video": {"id": "video_1"}, "prompt": "x"}) == {"video_1"}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"input":[{"type":"item_reference","id":"x-1","id":"x-2"}]}', {"x-1", "x-2"}),
        (b'{"input":[{"type":"message","type":"item_reference","id":"x-1","content":"y"}]}', {"x-1"}),
        (b'{"input":[{"type":"reasoning","encrypted_content":"y","encrypted_content":null,"id":"x-1"}]}', {"x-1"}),
        (b'{"input":[{"type":"input_file","file_id":"x-1","file_id":null}]}', {"x-1"}),
        (b'{"messages":[{"content":[{"file":{"file_id":"x-1"},"file":1}]}]}', {"x-1"}),
        (b'{"input":[{"file_id":"x-1","file\\u005fid":"x-2"}]}', {"x-1", "x-2"}),
        (b'{"x":{"a":1,"a":2,"user_id":"y"}}', set()),
    ],
)
def test_of_a_member_that_stands_twice_both_name_objects(body: bytes, names: set[str]) -> None:
    assert named_in(body) == names


@pytest.mark.parametrize(
    "query",
    [
        "after=x-1", "limit=2&before=x-1", "%61fter=x-1", "After=x-1", "after[]=x-1", "after%5B0%5D=x-1",
        "limit=1;after=x-1", "file_id=x-1", "a=b&thread_id=x-1",
    ],
)  # fmt: skip
def test_a_query_names_objects_however_it_is_written(query: str) -> None:
    assert "x-1" in objects.asked_for(query)


@pytest.mark.parametrize("query", ["", "limit=2&order=asc", "starting_after=5", "a=after;b", "after=", "include[]=x"])
def test_most_queries_name_no_object(query: str) -> None:
    assert objects.asked_for(query) == []


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function"}]}]},
        {"input": [{"type": "function_call_output", "call_id": "call_1", "output": "x"}]},
        {"metadata": {"file_id": "x-1", "conversation": "x-2"}},
        {"user_id": "x-1", "x_ids": ["x-2"]},
        {"input": "file_id: \"file_id\": 'x-1'"},
        {"tools": [{"parameters": {"properties": {"file_id": {"type": "string"}}, "required": ["file_id"]}}]},
        {"prompt": {"id": "pmpt_1", "version": "2"}},
        {"input": [{"type": "message", "id": "msg_1", "role": "assistant", "content": []}]},
        {},
        {"caf\u00e9": "\u20ac"},
    ],
)
def test_what_names_nothing_that_is_stored(body: object) -> None:
    assert named_in(body) == set()


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"tool_calls":[{"id" : "call_1"}]},{"tool_call_id":"call_1"},{"call_id":"call_1"}],broken',
        b'{"input":"say \\"file_id\\" or \\"id\\"", broken',
    ],
)
def test_rounds_of_tools_and_text_are_not_decoded_for_this(body: bytes) -> None:
    assert objects.referenced(body) == frozenset()


@pytest.mark.parametrize(
    "body",
    [b'{"file_id":', b'{"file_id":"a"' + b',"b":' + b"[" * 100_000, b'{"file_ids":[1,,"x"]}'],
)
def test_a_body_that_names_something_and_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        objects.referenced(body)


def test_only_so_many_objects_may_be_named() -> None:
    most = [f"file-{number}" for number in range(objects.MOST_IDS)]

    assert len(named_in({"file_ids": most * 2})) == objects.MOST_IDS
    with pytest.raises(BadRequest):
        named_in({"file_ids": [*most, "one-more"]})


@pytest.mark.parametrize(
    ("answer", "made"),
    [
        ({"id": "file-1", "object": "file"}, ["file-1"]),
        ({"id": "batch_1", "output_file_id": "file-2", "error_file_id": None}, ["batch_1", "file-2"]),
        ({"id": "resp_1", "output": [{"id": "msg_1"}, {"id": None}, "x", {}]}, ["resp_1", "msg_1"]),
        ({"type": "response.completed", "response": {"id": "resp_1", "output": [{"id": "m"}]}}, ["resp_1", "m"]),
        ({"id": "upload_1", "file": {"id": "file-3"}}, ["upload_1", "file-3"]),
        ({"id": "ftjob-1", "result_files": ["file-4", 5]}, ["ftjob-1", "file-4"]),
        ({"id": "file-1", "deleted": True}, []),
        ({"id": 5}, []),
        ({"id": ""}, []),
        ({"id": "x" * 257}, []),
        ({"id": "\ud800"}, []),
        ({"id": "a\0b"}, []),
        ({"data": [{"id": "file-1"}]}, []),
        ([{"id": "file-1"}], []),
    ],
)
def test_what_an_answer_brought_into_being(answer: object, made: list[str]) -> None:
    assert objects.created(json.dumps(answer).encode()) == made
    assert objects.created(b"no json") == []


@pytest.mark.usefixtures("online")
async def test_an_object_belongs_to_whoever_claimed_it_first() -> None:
    await objects.claim(ADA, ["file-1", "file-2"])
    await objects.claim(BEN, ["file-2", "file-3"])

    everything = ["file-1", "file-2", "file-3", "file-4"]
    assert await objects.owned(ADA, everything) == {"file-1", "file-2"}
    assert await objects.owned(BEN, everything) == {"file-3"}
    assert connections.command("GET", keys.object_owner("file-2")) == b"ext-ada"
    assert connections.command("TTL", keys.object_owner("file-2")) == -1


@pytest.mark.usefixtures("online")
async def test_only_ones_own_objects_may_be_named() -> None:
    await objects.claim(ADA, ["file-1", "file-2", "x" * 256])
    await objects.claim(BEN, ["file-3"])

    await objects.must_own(ADA, [])
    await objects.must_own(ADA, ["file-1", "file-2", "file-1", "x" * 256])
    for foreign in (["file-3"], ["file-1", "file-3"], ["file-4"], ["x" * 257], [""], ["\ud800"], ["file-1", "a\0"]):
        with pytest.raises(NotFound) as refused:
            await objects.must_own(ADA, foreign)
        assert refused.value.error_code == "object_not_found"
        assert not any(name and name in refused.value.message for name in foreign)


@pytest.mark.usefixtures("online")
async def test_while_redis_is_away_nobody_can_say_whose_an_object_is_and_claims_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    back = config.get().redis_url
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)

    with pytest.raises(QuotaStoreUnavailable):
        await objects.must_own(ADA, ["file-1", "file-2"])
    with pytest.raises(QuotaStoreUnavailable):
        await objects.owned(ADA, ["file-1"])

    await objects.must_own(ADA, [])
    await objects.claim(ADA, ["file-1"])  # the answer has been paid for, and goes down all the same
    configure(monkeypatch, redis_url=back)

    async def is_hers() -> bool:
        return await objects.owned(ADA, ["file-1"]) == {"file-1"}

    await eventually(is_hers, 5.0, "the claim is made once Redis is back")
