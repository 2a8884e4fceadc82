"""The admin's side bar: what is now, what was, who may. Each entry shows to those who may look at its page."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def icon(_request: HttpRequest) -> str:
    """The icon of the browser's tab."""
    return static("usage/shield.svg")


def _may_view(app: str, model: str) -> Callable[[HttpRequest], bool]:
    def may_view(request: HttpRequest) -> bool:
        return request.user.has_perm(f"{app}.view_{model}") or request.user.has_perm(f"{app}.change_{model}")

    return may_view


def _entry(title: str, icon: str, model: str, app: str = "usage") -> dict[str, Any]:
    link = reverse_lazy(f"admin:{app}_{model}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": _may_view(app, model)}


NAVIGATION: list[dict[str, Any]] = [
    {
        "title": "Now",
        "items": [
            {"title": "Dashboard", "icon": "dashboard", "link": reverse_lazy("admin:index")},
            _entry("Retry queue", "sync", "queuedbatch"),
            _entry("Dead letters", "mark_email_unread", "deadletter"),
            _entry("Users", "person_search", "governeduser"),
        ],
    },
    {
        "title": "History",
        "separator": True,
        "items": [
            _entry("Delivered calls", "receipt_long", "callrecord"),
            _entry("Batches", "inventory_2", "batchrecord"),
            _entry("Hourly totals", "bar_chart", "hourlytotal"),
            _entry("Operator actions", "history", "operatoraction"),
        ],
    },
    {
        "title": "Access",
        "separator": True,
        "items": [_entry("Operators", "badge", "user", "auth"), _entry("Groups", "group", "group", "auth")],
    },
]

# Tailwind's indigo.
INDIGO = {
    "50": "oklch(96.2% .018 272.314)",
    "100": "oklch(93% .034 272.788)",
    "200": "oklch(87% .065 274.039)",
    "300": "oklch(78.5% .115 274.713)",
    "400": "oklch(67.3% .182 276.935)",
    "500": "oklch(58.5% .233 277.117)",
    "600": "oklch(51.1% .262 276.966)",
    "700": "oklch(45.7% .24 277.023)",
    "800": "oklch(39.8% .195 277.366)",
    "900": "oklch(35.9% .144 278.697)",
    "950": "oklch(25.7% .09 281.288)",
}
