"""`USAGE_REPORTING=inline` before a Zion that ignores keys: reported before the answer ends, and once."""

from collections.abc import Iterator

import pytest

from tests.calls import call, chat
from tests.stack import Stack, running
from tests.wait import eventually

pytestmark = pytest.mark.xdist_group("inline")
SETTINGS = {
    "USAGE_REPORTING": "inline",
    "ZION_HONOURS_KEYS": "false",
    "ZION_TIMEOUT_SECONDS": "1",
    "ZION_BATCH_TIMEOUT_SECONDS": "1",
    "ZION_QUIET_SECONDS": "1.5",
    "BREAKER_OPEN_SECONDS": "0.5",
}


@pytest.fixture(scope="module")
def inline() -> Iterator[Stack]:
    """A stack that reports inline, and a Zion that ignores keys."""
    with running(gateways=1, settings=SETTINGS) as stack:
        stack.zion.tell("/_control/keys", {"honour": False})
        yield stack
        assert stack.set_aside() == 0


def endpoints(stack: Stack) -> list[str]:
    return [seen["endpoint"] for seen in stack.zion.ask("/_control/requests")]


async def test_a_plain_call_is_at_zion_when_its_answer_ends(inline: Stack) -> None:
    ada = inline.person("ada")

    answer = await call(inline.url, ada, chat(ada.name, max_tokens=20))

    assert (answer.status, inline.at_zion(ada)["requests"]) == (200, 1)
    assert "increment" in endpoints(inline)
    await eventually(lambda: len(inline.rows(ada)) == 1)


async def test_a_stream_is_reported_behind_its_end(inline: Stack) -> None:
    ada = inline.person("ada")

    await call(inline.url, ada, chat(ada.name, stream=True, max_tokens=20))

    await eventually(lambda: inline.at_zion(ada)["requests"] == 1)
    await eventually(lambda: len(inline.rows(ada)) == 1)


@pytest.mark.parametrize("fault", ["apply_then_cut", "cut"])
async def test_a_report_of_unknown_outcome_is_settled_by_zions_figures(inline: Stack, fault: str) -> None:
    ada = inline.person("ada")
    await call(inline.url, ada, chat(ada.name, max_tokens=20))
    inline.zion.tell("/_control/faults", {"kind": fault, "on": "increment"})

    answers = [await call(inline.url, ada, chat(ada.name, max_tokens=20)) for _ in range(3)]

    assert {answer.status for answer in answers} == {200}
    await eventually(lambda: len(inline.rows(ada)) == 4, 20)
    assert inline.at_zion(ada) == inline.at_provider(ada)
    assert inline.at_zion(ada)["requests"] == 4
    assert inline.is_at_rest()
