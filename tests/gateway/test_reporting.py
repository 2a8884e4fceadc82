"""What follows a settle."""

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from gateway import outcome
from gateway.outcome import Figures
from gateway.reporting import after_settle
from sentinel.lib import metrics
from sentinel.lib.asgi import Exchange
from tests.gateway.make import make_call, make_grant
from tests.limits.make import configure
from usage.recorder import Receipt
from usage.values import Details, Source

pytestmark = pytest.mark.usefixtures("online")


class Inline:
    """Reports, and notes what it reported."""

    def __init__(self) -> None:
        self.reported: list[str] = []

    async def report(self, _event: Any, entry_id: str) -> None:
        self.reported.append(entry_id)


class Here:
    """What a runtime offers after a settle."""

    def __init__(self) -> None:
        self.inline = Inline()
        self.nudges = 0

    def may_nudge(self) -> bool:
        self.nudges += 1
        return False


async def settled(figures: Figures, *, stream: bool = False, receipt: Receipt | None = None) -> tuple[Here, Exchange]:
    call, grant, here = make_call(stream=stream), make_grant(held_input=50, held_output=100), Here()
    exchange = Exchange(None, None, "r1")  # type: ignore[arg-type]  # nothing is sent through it
    event = outcome.event_of(call, grant, figures)
    await after_settle(call, grant, event, receipt or Receipt("settled", "7-0", 1), exchange, here)  # type: ignore[arg-type]
    metrics.flush()
    return here, exchange


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_what_was_served_beyond_the_hold_is_counted() -> None:
    before = [value("sentinel_quota_overrun_tokens_total", type=kind) for kind in ("input", "output")]

    await settled(Figures(53, 107, 1, Source.PROVIDER))

    after = [value("sentinel_quota_overrun_tokens_total", type=kind) for kind in ("input", "output")]
    assert [late - early for early, late in zip(before, after, strict=True)] == [3, 7]


async def test_what_is_not_the_providers_figure_is_counted_as_a_fallback_and_never_as_overrun() -> None:
    before = value("sentinel_token_estimation_fallback_total", source="partial")
    overrun = value("sentinel_quota_overrun_tokens_total", type="output")

    await settled(Figures(500, 500, 1, Source.PARTIAL))

    assert value("sentinel_token_estimation_fallback_total", source="partial") == before + 1
    assert value("sentinel_quota_overrun_tokens_total", type="output") == overrun


async def test_the_line_of_the_call_says_what_it_used_and_how_that_is_known() -> None:
    _, exchange = await settled(Figures(9, 2, 1, Source.ESTIMATE))

    said = SimpleNamespace(**exchange.fields)
    assert (said.model, said.input, said.output, said.source, said.settled) == ("gpt-4o", 9, 2, "estimate", "settled")


async def test_the_line_of_the_call_has_details_only_where_there_are_any() -> None:
    _, bare = await settled(Figures(9, 2, 1, Source.PROVIDER))
    _, told = await settled(Figures(9, 2, 1, Source.PROVIDER, Details(cached_input=4, reasoning_output=1)))

    assert "details" not in bare.fields
    assert told.fields["details"] == {"cached_input": 4, "reasoning_output": 1}


@pytest.mark.parametrize(("waiting", "nudges"), [(0, 0), (99, 0), (100, 1), (101, 0), (200, 1)])
async def test_delivery_is_nudged_at_every_hundredth_that_waits(waiting: int, nudges: int) -> None:
    here, _ = await settled(Figures(9, 2, 1, Source.PROVIDER), receipt=Receipt("settled", "7-0", waiting))

    assert here.nudges == nudges


async def test_inline_reports_what_redis_has_and_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Figures(9, 2, 1, Source.PROVIDER)
    batched, _ = await settled(used)
    configure(monkeypatch, usage_reporting="inline")

    inline, _ = await settled(used)
    journalled, _ = await settled(used, receipt=Receipt("journalled", "", 0))
    refused, _ = await settled(Figures(0, 0, 0, Source.PROVIDER))

    assert [here.inline.reported for here in (batched, inline, journalled, refused)] == [[], ["7-0"], [], []]
