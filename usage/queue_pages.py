"""The retry queue in the admin: batches straight from Redis, one batch in full, and what may be done with it."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from sentinel import config
from sentinel.lib.redis import RedisUnavailable
from usage import intervene, queue, show
from usage.acting import Act, serve
from usage.batch import Batch
from usage.batch_acts import ACTS, RETRY_ALL, acts_for
from usage.intervene import Found
from usage.models import BatchRecord, CallRecord, DeadLetter, QueuedBatch
from usage.queue import Page, Row
from usage.resolution import Place
from usage.send import terms_of

_TITLES = {
    Place.BATCHES: "Waiting",
    Place.HELD: "Held",
    Place.DEAD: "Dead letters",
    Place.DELIVERED: "Delivered, not yet in the history",
}
_HEADERS = ["Batch", "State", "Tries", "Next try", "Age", "Items", "Calls", "Last error", ""]
_MEMBERS_SHOWN = 200
LIST = "admin:usage_queuedbatch_changelist"
DETAIL = "admin:usage_queuedbatch_change"
ACT = "admin:usage_queuedbatch_act"


@admin.register(QueuedBatch)
class QueuedBatchAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """No rows of a table: each page asks Redis."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """Only our own pages: Django's would look for a table."""
        view = self.admin_site.admin_view
        return [
            path("", view(self.queue), name="usage_queuedbatch_changelist"),
            path("all/retry/", view(self.retry_all), name="usage_queuedbatch_retry_all"),
            path("<slug:batch_id>/", view(self.batch), name="usage_queuedbatch_change"),
            path("<slug:batch_id>/<slug:act>/", view(self.act), name="usage_queuedbatch_act"),
        ]

    def queue(self, request: HttpRequest) -> HttpResponse:
        """A page of one place of one shard."""
        self._check_view(request)
        if wanted := request.GET.get("q", "").strip():
            return redirect(DETAIL, wanted) if wanted.isalnum() else redirect(LIST)
        shard = _number(request, "shard", 0, config.get().usage_shards - 1)
        place = Place(chosen) if (chosen := request.GET.get("place", "")) in _TITLES else Place.BATCHES
        context: dict[str, Any] = {"shard": shard, "shards": range(config.get().usage_shards), "place": place}
        try:
            found = queue.page(shard, place, _number(request, "p", 1, 1_000_000))
            context |= _shown(found, may_act=self.has_change_permission(request))
            context["breaker"] = _breaker()
        except RedisUnavailable as error:
            context["trouble"] = f"Redis cannot be reached: {error}"
        return self._page(request, "usage/queue.html", "Retry queue", context)

    def batch(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        """One batch with its items, events, evidence and bytes; or where it went."""
        self._check_view(request)
        try:
            found = intervene.locate(batch_id)
            context = _detail(found, may_act=self.has_change_permission(request)) if found else _gone(batch_id)
        except RedisUnavailable as error:
            context = {"trouble": f"Redis cannot be reached: {error}"}
        except ValueError as error:
            context = {"trouble": f"It cannot be read: {error}"}
        return self._page(request, "usage/batch.html", f"Batch {batch_id}", context)

    def act(self, request: HttpRequest, batch_id: str, act: str) -> HttpResponse:
        """Ask, or do it. Afterwards the batch, which shows what became of it."""
        chosen = ACTS.get(act)
        if chosen is None:
            raise Http404
        return serve(self, request, chosen, batch_id, back=reverse(DETAIL, args=[batch_id]), title=f"batch {batch_id}")

    def retry_all(self, request: HttpRequest) -> HttpResponse:
        """All that failed, at once."""
        return serve(self, request, RETRY_ALL, "all", back=reverse(LIST), title="every failed batch")

    def _check_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, template: str, title: str, context: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, template, {**common, **context})


def _shown(found: Page, *, may_act: bool) -> dict[str, Any]:
    rows = [_cells(row, found.place, may_act=may_act) for row in found.rows]
    return {
        "page": found,
        "places": [(place, title, found.sizes[place]) for place, title in _TITLES.items()],
        "table": show.table(_HEADERS, rows),
        "may_act": may_act,
    }


def _cells(row: Row, place: Place, *, may_act: bool) -> list[Any]:
    url = reverse(DETAIL, args=[row.id])
    name = show.link(url, row.id[:12])
    if (batch := row.batch) is None:
        return [name, show.label("torn"), "", "", show.span(row.age_seconds), "", "", "fields are missing", ""]
    acts = [act for act in acts_for(batch) if act.name == "retry"] if may_act else []
    return [
        name,
        show.label(batch.state.value),
        max(batch.tries, batch.rejections),
        show.due(row.due_in_seconds) if place is Place.BATCHES else show.NOTHING,
        show.span(row.age_seconds),
        len(batch.items),
        len(batch.members),
        (batch.reason or show.NOTHING)[:90],
        _button(row.id, acts[0]) if acts else show.link(url, "Open"),
    ]


def _button(batch_id: str, act: Act) -> Any:
    """Posts the page's own form, which has the token."""
    url = reverse(ACT, args=[batch_id, act.name])
    return format_html('<button form="act" formaction="{}" class="sentinel-button">{}</button>', url, act.label)


def _detail(found: Found, *, may_act: bool) -> dict[str, Any]:
    batch = found.batch
    due = queue.due_ms(found.shard, batch.id)
    return {
        "facts": [
            ("State", show.label(batch.state.value)),
            ("Attempts", batch.tries),
            ("Rejections", batch.rejections),
            ("Senders that never reported back", batch.died),
            ("Next try", show.due((due - batch.now_ms) / 1000) if due else show.NOTHING),
            ("Sealed", f"{show.moment(batch.created_ms)} ({show.span((batch.now_ms - batch.created_ms) / 1000)} ago)"),
            ("Sent to", batch.endpoint),
            ("Idempotency key", batch.key),
            (
                "Split from",
                show.link(reverse(DETAIL, args=[batch.origin]), batch.origin) if batch.origin else show.NOTHING,
            ),
            ("Last error", batch.reason or show.NOTHING),
            ("Shard", found.shard),
        ],
        "evidence": show.pretty(_evidence(batch)) if batch.doubt.total else "",
        "read_back": show.evidence(batch.doubt.evidence),
        "items": _items(batch),
        "members": _members(batch),
        "members_left": max(0, len(batch.members) - _MEMBERS_SHOWN),
        "body": show.pretty(batch.body) if batch.body else "",
        "body_bytes": len(batch.body),
        "acts": acts_for(batch) if may_act else [],
        "batch_id": batch.id,
    }


def _evidence(batch: Batch) -> dict[str, Any]:
    doubt = {name: getattr(batch.doubt, name) for name in ("reason", "status", "equal", "total", "cleared")}
    return {**doubt, "since": show.moment(batch.doubt.since_ms), "last": show.moment(batch.doubt.last_ms)}


def _items(batch: Batch) -> dict[str, Any]:
    rows = [
        [item.external_id, item.email, item.model, f"{item.input:,}", f"{item.output:,}", item.requests,
         show.moment(item.timestamp_ms)]
        for item in batch.items
    ]  # fmt: skip
    return show.table(["User", "E-mail", "Model", "Input", "Output", "Requests", "Latest call"], rows)


def _members(batch: Batch) -> dict[str, Any]:
    rows = []
    for member in batch.members[:_MEMBERS_SHOWN]:
        try:
            event = member.usage()
            told = [
                event.model,
                f"{event.input:,}",
                f"{event.output:,}",
                show.details(event.details.told()),
                event.source.value,
                show.moment(event.admitted_ms),
            ]
        except ValueError:
            told = [show.pretty(member.event), "", "", "", "unreadable", ""]
        rows.append([member.call_id, *told, show.amounts(member.charges)])
    return show.table(["Call", "Model", "Input", "Output", "Details", "Known from", "Admitted", "Charges"], rows)


def _gone(batch_id: str) -> dict[str, Any]:
    """It is no longer in Redis: delivered, replaced by new batches, or never there."""
    record = BatchRecord.objects.filter(batch_id=batch_id).first()
    letter = DeadLetter.objects.filter(batch_id=batch_id).first()
    if record is None and letter is None and not CallRecord.objects.filter(batch_id=batch_id).exists():
        raise Http404
    return {"record": record, "letter": letter, "batch_id": batch_id}


def _breaker() -> dict[str, Any]:
    found = terms_of(config.get()).breaker.look()
    return {"label": show.label(found.state), "wait": show.span(found.wait_seconds) if found.wait_seconds else ""}


def _number(request: HttpRequest, name: str, least: int, most: int) -> int:
    given = request.GET.get(name, "")
    return min(max(int(given), least), most) if given.isascii() and given.isdigit() and len(given) < 12 else least
