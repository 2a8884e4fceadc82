"""The first page: figures of now from Redis, figures over time from the history, each for those who may look."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import redis
from django.test import Client

from sentinel import config
from sentinel.lib import metrics
from sentinel.lib.redis import ledger as connect
from tests.admin.batches import dead, failed, held
from tests.servers import free_port
from tests.usage.make import make_terms
from usage import charts, dashboard, refusals, show
from usage.charts import Line
from usage.models import BatchRecord, DeadLetter, HourlyTotal

NOW = datetime(2026, 11, 23, 8, 40, tzinfo=UTC)


def page_of(client: Client) -> str:
    found = client.get("/admin/")
    assert found.status_code == 200
    return found.content.decode()


def batch(at: datetime, **changes: Any) -> BatchRecord:
    fields: dict[str, Any] = {
        "endpoint": "batch",
        "items": 1,
        "calls": 1,
        "tries": 1,
        "sealed_at": at,
        "delivered_at": at,
    }
    return BatchRecord(**{**fields, "batch_id": f"{BatchRecord.objects.count()}-{at}"[:32], **changes})


def total(hour: datetime, **changes: Any) -> HourlyTotal:
    fields = {"external_id": "ext-ada", "model": "gpt-4o", "source": "provider", "calls": 5, "input": 70, "output": 30}
    return HourlyTotal(**{"hour": hour, **fields, **changes})


def test_it_shows_what_waits_and_what_needs_somebody(olivia: Client) -> None:
    held("dora")
    dead("eli")
    failed("ada")

    page = page_of(olivia)

    for part in (
        "Waiting for Zion",
        "drains in",
        "ext-dora",
        "ext-eli",
        "closed",
        "Admitted and refused",
        "Refusals, last",
        "Breaker open, last",
    ):
        assert part in page, part
    assert page.count('class="chart"') == 8


def test_it_loads_nothing_from_elsewhere(olivia: Client) -> None:
    page = page_of(olivia)

    assert 'src="http' not in page
    assert 'href="http' not in page


def test_an_open_breaker_shows_with_its_probe(olivia: Client) -> None:
    breaker = make_terms().breaker
    breaker.report(breaker.admit().token, "trip")

    assert "probes in" in page_of(olivia)


def test_without_redis_the_history_is_still_shown(olivia: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    HourlyTotal.objects.bulk_create([total(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))])
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    connect.cache_clear()

    page = page_of(olivia)

    assert "Redis cannot be reached" in page
    assert page.count('class="chart"') == 3


def test_who_may_not_look_sees_no_figure(nobody: Client) -> None:
    page = page_of(nobody)

    assert "You may not look at usage" in page
    assert 'class="chart"' not in page


@pytest.mark.django_db
def test_usage_is_added_up_per_hour_and_exact_and_other_figures_apart() -> None:
    hour = NOW.replace(minute=0)
    HourlyTotal.objects.bulk_create(
        [
            total(hour),
            total(hour, external_id="ext-ben", source="reaped", calls=2),
            total(hour - timedelta(hours=23), calls=9),
            total(hour - timedelta(hours=24), calls=1000),
        ]
    )

    used = charts.used(NOW)

    assert (used["calls"][-1], used["inexact"][-1], used["input"][-1]) == (7, 2, 140)
    assert (used["calls"][0], sum(used["calls"])) == (9, 16)


@pytest.mark.django_db
def test_deliveries_and_letters_are_counted_in_their_hour() -> None:
    BatchRecord.objects.bulk_create(
        [batch(NOW), batch(NOW, batch_id="b", tries=4), batch(NOW - timedelta(hours=2), batch_id="c"),
         batch(NOW - timedelta(days=2), batch_id="d")]
    )  # fmt: skip
    DeadLetter.objects.create(batch_id="e", kind="dead", reason="x", calls=1, tries=5, payload={}, since=NOW)

    delivered = charts.delivered(NOW)

    assert (delivered["batches"][-1], delivered["batches"][-3], sum(delivered["batches"])) == (2, 1, 3)
    assert delivered["letters"][-1] == 1


def test_a_chart_has_a_label_per_hour_and_a_figure_per_label() -> None:
    chart = orjson.loads(charts.chart(NOW, [Line("calls", "#fff", list(range(24)))]))

    assert (chart["labels"][0], chart["labels"][-1], len(chart["labels"])) == ("09", "08", 24)
    assert chart["datasets"][0]["data"] == list(range(24))


def test_refusals_come_from_the_metrics_of_this_process() -> None:
    before = refusals.decisions().get("rate", 0)

    metrics.DECISIONS.labels("rate").inc(3)

    assert refusals.decisions()["rate"] == before + 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d"), (-5, "-5 s")]
)
def test_spans_are_written_in_their_largest_fitting_unit(seconds: float, text: str) -> None:
    assert show.span(seconds) == text


def test_times_and_json_are_written_for_reading(redis_url: str) -> None:
    assert show.moment(0) == show.NOTHING
    assert show.moment(1_780_000_000_000) == "2026-05-28 20:26:40"
    assert show.due(-1) == "due"
    assert "&lt;b&gt;" in show.pretty('{"a":"<b>"}')
    assert "junk\\xff" in show.pretty(b"junk\xff")


def test_the_dashboard_asks_nothing_for_those_who_may_not_look(nobody: Client, rf: Any) -> None:
    request = rf.get("/admin/")
    request.user = type("Nobody", (), {"has_perm": lambda self, name: False})()

    assert dashboard.add_to(request, {"title": "x"}) == {"title": "x"}


def test_the_ledger_is_only_read(olivia: Client, ledger: redis.Redis) -> None:
    failed()
    before = ledger.dbsize()

    page_of(olivia)

    assert ledger.dbsize() == before
