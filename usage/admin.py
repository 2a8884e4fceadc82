"""The ledger for operators: history to look at, and letters to decide about. What may be done is in `batch_acts`."""

from datetime import timedelta
from typing import Any, ClassVar

import orjson
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from sentinel.lib.redis import RedisUnavailable
from usage import intervene, queue_pages, show
from usage.batch_acts import acts_for
from usage.models import BatchRecord, CallRecord, DeadLetter, HourlyTotal, OperatorAction
from usage.values import Source

__all__ = ["queue_pages"]  # its page registers itself
admin.site.index_template = "usage/dashboard.html"
admin.site.index_title = "Dashboard"
_CALLS_SHOWN = 200


class WhenFilter(admin.SimpleListFilter):
    """A span before now, by an indexed column: no page asks for the days that a big table has rows of."""

    title = "when"
    parameter_name = "when"
    column = ""
    _HOURS: ClassVar = {"1h": ("last hour", 1), "24h": ("last 24 hours", 24), "7d": ("last 7 days", 168)}

    def lookups(self, _request: HttpRequest, _page: Any) -> list[tuple[str, str]]:
        return [(name, title) for name, (title, _) in self._HOURS.items()]

    def queryset(self, _request: HttpRequest, rows: Any) -> Any:
        """Rows younger than what was chosen."""
        _, hours = self._HOURS.get(self.value() or "", ("", 0))
        since = timezone.now() - timedelta(hours=hours)
        return rows.filter(**{f"{self.column}__gte": since}) if hours else rows


def when(name: str) -> type[WhenFilter]:
    """The filter over this column."""
    return type(f"When{name}", (WhenFilter,), {"column": name})


class SourceFilter(admin.SimpleListFilter):
    """How figures are known; the choices are ours, so that nothing is counted to list them."""

    title = "known from"
    parameter_name = "source"

    def lookups(self, _request: HttpRequest, _page: Any) -> list[tuple[str, str]]:
        return [(source.value, source.value) for source in Source]

    def queryset(self, _request: HttpRequest, rows: Any) -> Any:
        """Rows of the chosen class."""
        return rows.filter(source=self.value()) if self.value() in set(Source) else rows


class RetriedFilter(admin.SimpleListFilter):
    """Batches that needed more than one attempt."""

    title = "attempts"
    parameter_name = "attempts"

    def lookups(self, _request: HttpRequest, _page: Any) -> list[tuple[str, str]]:
        return [("several", "more than one")]

    def queryset(self, _request: HttpRequest, rows: Any) -> Any:
        """As chosen."""
        return rows.filter(tries__gt=1) if self.value() == "several" else rows


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Rows to look at: nobody adds, changes or deletes them here. No page counts a big table."""

    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by: ClassVar[list[str]] = []

    def has_add_permission(self, _request: HttpRequest, _row: Any = None) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _row: Any = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Any = None) -> bool:
        return False


@admin.register(CallRecord)
class CallRecordAdmin(ReadOnlyAdmin):
    list_display: ClassVar = [
        "admitted_at", "external_id", "endpoint", "model", "input", "output", "requests", "source",
    ]  # fmt: skip
    list_filter: ClassVar = [when("admitted_at"), SourceFilter]
    search_fields: ClassVar = [
        "call_id__exact", "request_id__exact", "external_id__exact", "email__exact", "batch_id__exact",
    ]  # fmt: skip
    search_help_text = "Exact call, request id, external id, e-mail or batch"
    fields: ClassVar = [
        "call_id", ("request_id", "source"), ("external_id", "user_id"), "email", ("model", "endpoint"),
        ("input", "output"), ("requests", "cached_input"), ("audio_input", "image_input"),
        ("reasoning_output", "audio_output"), ("admitted_at", "delivered_at"), "batch_id",
    ]  # fmt: skip


@admin.register(BatchRecord)
class BatchRecordAdmin(ReadOnlyAdmin):
    list_display: ClassVar = ["batch_id", "endpoint", "items", "calls", "tries", "sealed_at", "delivered_at"]
    list_filter: ClassVar = [when("delivered_at"), RetriedFilter]
    search_fields: ClassVar = ["batch_id__exact", "origin__exact"]
    search_help_text = "Exact batch, or the batch that it was split from"


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display: ClassVar = ["since", "state", "external_id", "short_reason", "calls", "tries", "resolution"]
    list_display_links: ClassVar = ["since", "state"]
    list_filter: ClassVar = ["kind", ("resolved_at", admin.EmptyFieldListFilter), "resolution"]
    search_fields: ClassVar = ["batch_id__exact", "external_id__exact", "reason"]
    search_help_text = "Exact batch or external id, or part of the reason"
    change_form_outer_before_template = "usage/letter.html"
    fields: ClassVar = [
        "batch_id", "reason", ("kind", "external_id"), ("calls", "tries"), ("since", "resolved_at"), "resolution",
        "evidence", "body", "events",
    ]  # fmt: skip

    def get_readonly_fields(self, _request: HttpRequest, _row: Any = None) -> list[str]:
        """All: the payload in parts that can be read."""
        return [name for line in self.fields for name in ([line] if isinstance(line, str) else line)]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The letter, with what may be done and what became of its calls."""
        letter = DeadLetter.objects.filter(pk=object_id).first() if object_id.isdigit() else None
        more = _prospects(request, letter) if letter and self.has_view_permission(request) else {}
        found: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})
        return found

    @admin.display(description="state")
    def state(self, letter: DeadLetter) -> SafeString:
        """What it is, while it waits."""
        return show.label("closed" if letter.resolved_at else letter.kind)

    @admin.display(description="reason")
    def short_reason(self, letter: DeadLetter) -> str:
        """The beginning of the reason."""
        return letter.reason[:80]

    @admin.display(description="evidence")
    def evidence(self, letter: DeadLetter) -> str:
        """What is known about attempts of unknown outcome."""
        return show.pretty(letter.payload["doubt"]) if letter.payload.get("doubt") else show.NOTHING

    @admin.display(description="body sent")
    def body(self, letter: DeadLetter) -> str:
        """The bytes of the batch, indented."""
        return show.pretty(letter.payload["body"]) if letter.payload.get("body") else show.NOTHING

    @admin.display(description="events")
    def events(self, letter: DeadLetter) -> str:
        """The first usage events in it."""
        return show.pretty([_parsed(event) for event in letter.payload.get("events", [])[:_CALLS_SHOWN]])


@admin.register(HourlyTotal)
class HourlyTotalAdmin(ReadOnlyAdmin):
    list_display: ClassVar = ["hour", "external_id", "model", "source", "calls", "input", "output", "requests"]
    list_filter: ClassVar = [when("hour"), SourceFilter]
    search_fields: ClassVar = ["external_id__exact"]
    search_help_text = "Exact external id"


@admin.register(OperatorAction)
class OperatorActionAdmin(ReadOnlyAdmin):
    list_display: ClassVar = ["at", "who", "what", "why"]
    list_filter: ClassVar = [when("at")]
    search_fields: ClassVar = ["who", "what", "why"]


def _prospects(request: HttpRequest, letter: DeadLetter) -> dict[str, Any]:
    """What may be done with a letter that waits, and which of its calls are delivered."""
    events = [_parsed(event) for event in letter.payload.get("events", [])[:_CALLS_SHOWN]]
    calls = [event["call_id"] for event in events if isinstance(event, dict) and "call_id" in event]
    delivered = CallRecord.objects.filter(call_id__in=calls).values_list("batch_id", "email")
    context: dict[str, Any] = {"letter": letter, "batch_id": letter.batch_id, "delivered": sorted(set(delivered))}
    context["read_back"] = show.evidence((letter.payload.get("doubt") or {}).get("evidence", ()))
    context["delivered_calls"], context["calls_looked_for"] = len(delivered), len(calls)
    if letter.resolved_at or not request.user.has_perm("usage.change_queuedbatch"):
        return context
    try:
        found = intervene.locate(letter.batch_id)
    except (RedisUnavailable, ValueError) as error:
        return {**context, "trouble": str(error)}
    return {**context, "acts": acts_for(found.batch) if found else []}


def _parsed(event: str) -> Any:
    try:
        return orjson.loads(event)
    except orjson.JSONDecodeError:
        return event
