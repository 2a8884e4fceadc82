"""Endpoints that an operator has opened, and objects that the provider stores: they belong to whoever created them."""

from collections.abc import Iterator

import orjson
import pytest

from tests import raw
from tests.calls import CHAT, call, chat, get
from tests.flows.test_media import SOUND, form, respond, upload
from tests.people import Person
from tests.raw import Answer
from tests.stack import Stack
from tests.wait import until

FILES, RESPONSES = "/v1/files", "/v1/responses"


@pytest.fixture(scope="module")
def opened(shared_stack: Stack) -> Iterator[str]:
    """A gateway that leaves everything open that may be."""
    with shared_stack.another_gateway({"PASSTHROUGH_ALLOW": "*"}) as (url, _):
        yield url


async def store(url: str, person: Person) -> str:
    """Have a file stored; its id."""
    answer = await raw.exchange(url, upload(person, form(purpose="assistants"), FILES))
    assert answer.status == 200, answer.body
    name: str = answer.json()["id"]
    return name


async def delete(url: str, person: Person, path: str) -> Answer:
    """DELETE something as this person."""
    return await raw.exchange(url, raw.request("DELETE", path, headers=person.headers))


async def test_what_is_not_opened_stays_closed(stack: Stack) -> None:
    ada = stack.person("ada")
    with stack.another_gateway({"PASSTHROUGH_ALLOW": "GET /v1/files/*"}) as (url, _):
        closed = [
            await get(stack.url, ada, FILES),
            await get(url, ada, FILES),
            await get(url, ada, "/v1/files/file-1/content"),
            await delete(url, ada, "/v1/files/file-1"),
        ]
        opened = await get(url, ada, "/v1/files/file-1")

    assert {(answer.status, answer.error["code"]) for answer in closed} == {(403, "endpoint_not_allowed")}
    assert (opened.status, opened.error["code"]) == (404, "object_not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/organization/users",
        "/v1/organization/admin_api_keys",
        "/v1/realtime/client_secrets",
        "/v1/chatkit/sessions",
        "/v1/batches",
        "/v1/evals",
    ],
)
async def test_what_mints_keys_or_reads_unread_files_stays_closed_when_all_else_is_open(
    stack: Stack, opened: str, path: str
) -> None:
    ada = stack.person("ada")

    answers = [await get(opened, ada, path), await call(opened, ada, {}, path)]

    assert {(answer.status, answer.error["code"]) for answer in answers} == {(403, "endpoint_not_allowed")}


async def test_a_file_belongs_to_whoever_stored_it(stack: Stack, opened: str) -> None:
    ada, ben = stack.person("ada"), stack.person("ben")
    name = await store(opened, ada)

    hers = [await get(opened, ada, f"{FILES}/{name}"), await get(opened, ada, f"{FILES}/{name}/content")]
    his = [
        await get(opened, ben, f"{FILES}/{name}"),
        await get(opened, ben, f"{FILES}/{name}/content"),
        await get(opened, ben, f"{FILES}?after={name}"),
        await delete(opened, ben, f"{FILES}/{name}"),
    ]
    gone = await delete(opened, ada, f"{FILES}/{name}")

    assert hers[0].json()["id"] == name
    assert hers[1].body == SOUND
    assert {(answer.status, answer.error["code"]) for answer in his} == {(404, "object_not_found")}
    assert gone.json()["deleted"] is True


async def test_a_list_shows_only_what_is_the_callers(stack: Stack, opened: str) -> None:
    ada, ben = stack.person("ada"), stack.person("ben")
    hers, his = [], []
    for _ in range(3):
        hers.append(await store(opened, ada))
        his.append(await store(opened, ben))

    listed = (await get(opened, ada, f"{FILES}?limit=100")).json()
    pages, after = [], ""
    for _ in range(10):
        page = (await get(opened, ada, f"{FILES}?limit=1{after}")).json()
        pages += [item["id"] for item in page["data"]]
        if not page["has_more"] or not page["data"]:
            break
        after = f"&after={pages[-1]}"

    assert {item["id"] for item in listed["data"]} == set(hers)
    assert set(pages) == set(hers)
    assert not set(his) & {listed.get("first_id"), listed.get("last_id")}


@pytest.mark.parametrize("is_escaped", [False, True])
async def test_a_body_may_not_name_what_is_somebody_elses(stack: Stack, opened: str, is_escaped: bool) -> None:
    ada, ben = stack.person("ada"), stack.person("ben")
    name = await store(opened, ada)

    def naming(person: Person) -> bytes:
        part = {"type": "file", "file": {"file_id": name}}
        body = orjson.dumps(chat(person.name, messages=[{"role": "user", "content": [part]}]))
        text = body.replace(b"file_id", b"file\\u005fid") if is_escaped else body
        return raw.request("POST", CHAT, headers=person.headers, body=text)

    his = await raw.exchange(opened, naming(ben))
    hers = await raw.exchange(opened, naming(ada))

    assert (his.status, his.error["code"]) == (404, "object_not_found")
    assert hers.status == 200
    assert stack.provider_calls(ben) == []


async def test_a_stored_response_can_be_read_and_continued_by_its_creator_alone(stack: Stack, opened: str) -> None:
    ada, ben = stack.person("ada"), stack.person("ben")
    plain = (await call(opened, ada, respond(ada.name), RESPONSES)).json()["id"]
    streamed = await call(opened, ada, respond(ada.name, stream=True), RESPONSES)
    last = orjson.loads(streamed.body.decode().strip().split("\n")[-1].removeprefix("data: "))
    names = [plain, last["response"]["id"]]

    hers = [await get(opened, ada, f"{RESPONSES}/{name}") for name in names]
    his = [await get(opened, ben, f"{RESPONSES}/{name}") for name in names]
    continued = await call(opened, ada, respond(ada.name, previous_response_id=plain), RESPONSES)
    stolen = await call(opened, ben, respond(ben.name, previous_response_id=plain), RESPONSES)

    assert [answer.json()["id"] for answer in hers] == names
    assert {(answer.status, answer.error["code"]) for answer in his} == {(404, "object_not_found")}
    assert (continued.status, stolen.status) == (200, 404)
    assert stack.provider_calls(ben) == []


async def test_a_query_goes_up_as_it_came(stack: Stack, opened: str) -> None:
    ada = stack.person("ada")
    seen = len(stack.provider.ask("/_control/calls"))

    await get(opened, ada, f"{FILES}?purpose=batch&limit=7&order=asc")

    assert stack.provider.ask("/_control/calls")[seen]["query"] == "purpose=batch&limit=7&order=asc"


async def test_what_is_opened_is_counted_by_requests_and_reading_is_free(stack: Stack, opened: str) -> None:
    ada = stack.person("ada")

    name = await store(opened, ada)
    await get(opened, ada, f"{FILES}/{name}")

    until(lambda: stack.at_zion(ada)["requests"] == 1, 5.0, "the upload is delivered")
    until(stack.is_at_rest, 5.0, "all is delivered")
    assert stack.at_zion(ada) == {"input": 0, "output": 0, "requests": 1}
    assert stack.held(ada) == 0


async def test_nobody_without_a_token_learns_what_is_open(stack: Stack, opened: str) -> None:
    answer = await raw.exchange(opened, raw.request("GET", FILES))

    assert (answer.status, answer.error["code"]) == (401, "missing_token")
