"""The first page of the admin: what waits, what was delivered, what was refused. Each part fails alone."""

from datetime import UTC, datetime
from math import ceil
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from usage import backlog, charts, refusals, show
from usage.backlog import Backlog
from usage.charts import Line
from usage.models import DeadLetter
from usage.send import terms_of

_INDIGO, _TEAL, _AMBER, _RED, _GREY = "#6366f1", "#14b8a6", "#f59e0b", "#ef4444", "#94a3b8"
_HEADERS = ["Decision", "Calls"]
_LETTERS_SHOWN = 5


def add_to(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's hook for its index page."""
    if not request.user.has_perm("usage.view_queuedbatch"):
        return context
    now = datetime.now(UTC)
    parts = {"letters": _letters(), "refusals": _refusals(), "as_of": now}
    return {**context, **_now(), **_charts(now), **parts}


def _now() -> dict[str, Any]:
    """What waits at this moment, from Redis."""
    settings = config.get()
    try:
        shards = [backlog.look(shard) for shard in range(settings.usage_shards)]
        breaker = terms_of(settings).breaker.look()
    except RedisUnavailable as error:
        return {"trouble": f"Redis cannot be reached: {error}. What follows is from the database."}
    events, batches = _sum(shards, "events"), _sum(shards, "batches")
    seconds, rate = sum(shard.drain_seconds for shard in shards), settings.zion_requests_per_second
    oldest = max(shard.oldest_age_seconds for shard in shards)
    drains = f"drains in {show.span(ceil(seconds))} or more, at {rate} sends/s" if seconds else "nothing waits"
    return {
        "cards": [
            ("Waiting for Zion", f"{events + batches:,}", f"{events:,} calls, {batches:,} batches"),
            (
                "Oldest",
                show.span(oldest) if oldest else show.NOTHING,
                drains,
            ),
            ("Retrying", f"{_sum(shards, 'retrying'):,}", "batches that failed before"),
            ("Held", f"{_sum(shards, 'held'):,}", "outcome unknown: yours to decide"),
            ("Dead letters", f"{_sum(shards, 'dead'):,}", f"{_open_letters():,} open in the history"),
        ],
        "breaker": show.label(breaker.state),
        "breaker_wait": show.span(breaker.wait_seconds) if breaker.wait_seconds else "",
    }


def _charts(now: datetime) -> dict[str, Any]:
    used, sent = charts.used(now), charts.delivered(now)
    shown = [
        _chart("Calls", now, [Line("calls", _INDIGO, used["calls"]), Line("not exact", _AMBER, used["inexact"])]),
        _chart(
            "Tokens",
            now,
            [Line("input", _TEAL, _thousands(used["input"])), Line("output", _INDIGO, _thousands(used["output"]))],
            suffix="k",
        ),
        _chart(
            "Deliveries",
            now,
            [Line("batches", _TEAL, sent["batches"]), Line("set aside", _RED, sent["letters"])],
        ),
    ]
    return {
        "totals": [
            ("Calls, 24 h", f"{sum(used['calls']):,}", f"{sum(used['inexact']):,} not by the provider's figures"),
            ("Tokens, 24 h", f"{sum(used['input']) + sum(used['output']):,}", "input and output, as delivered"),
        ],
        "charts": shown + _trends(now),
    }


def _trends(now: datetime) -> list[dict[str, Any]]:
    """What only Redis tells over time; nothing while it is away."""
    try:
        found = charts.noted(now)
    except RedisUnavailable:
        return []  # the page says so already
    kinds = (("quota", _AMBER), ("rate", _INDIGO), ("other", _GREY))
    refused = [Line(kind, colour, found[kind]) for kind, colour in kinds]
    return [
        _chart("Failed attempts", now, [Line("not confirmed", _AMBER, found["failed"])]),
        _chart("Refusals", now, refused),
        _chart("Waiting for Zion", now, [Line("most at once", _INDIGO, found["waiting"])]),
        _chart("Oldest that waited", now, [Line("seconds", _TEAL, found["oldest"])], suffix="s"),
        _chart("Breaker open", now, [Line("share of the time", _RED, found["open"])], suffix="%"),
    ]


def _chart(title: str, now: datetime, lines: list[Line], suffix: str = "") -> dict[str, Any]:
    legend = [(line.name, line.colour) for line in lines]
    return {"title": title, "data": charts.chart(now, lines, suffix), "legend": legend}


def _thousands(figures: list[int]) -> list[float]:
    return [round(figure / 1000, 1) for figure in figures]


def _refusals() -> dict[str, Any]:
    rows = [[show.label(name), f"{count:,}"] for name, count in refusals.decisions().items()]
    return show.table(_HEADERS, rows)


def _letters() -> dict[str, Any]:
    """The newest that wait for somebody to decide."""
    found = DeadLetter.objects.filter(resolved_at=None).defer("payload")[:_LETTERS_SHOWN]
    rows = [
        [
            show.link(reverse("admin:usage_deadletter_change", args=[letter.pk]), f"{letter.since:%d %b %H:%M}"),
            show.label(letter.kind),
            _user(letter.external_id),
            letter.calls,
            letter.reason[:60],
        ]
        for letter in found
    ]
    return show.table(["Since", "Kind", "User", "Calls", "Reason"], rows)


def _user(external_id: str) -> str:
    if not external_id:
        return "several users"
    return show.link(reverse("admin:usage_governeduser_change", query={"id": external_id}), external_id)


def _open_letters() -> int:
    return DeadLetter.objects.filter(resolved_at=None).count()


def _sum(shards: list[Backlog], name: str) -> int:
    return sum(getattr(shard, name) for shard in shards)
