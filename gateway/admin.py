"""Users in the admin: limits and counters straight from Redis, their remembered tokens, and what may be done with them.

Here, not lower, since it shows what admission and authentication know of a user side by side. Not for the request path.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from gateway import user_tables
from limits import look, operate
from limits.record import Operator
from sentinel.lib.redis import RedisUnavailable
from usage.acting import Act, ReasonForm, serve
from usage.models import GovernedUser

LIST = "admin:usage_governeduser_changelist"
_LONGEST_ID = 256


def _do(what: str, act: Any, message: str, subject: str, given: Mapping[str, Any], who: Operator) -> str:
    """Act on a user and have it recorded. `act` gets the external id and the reason."""
    act(subject, given.get("reason", ""))
    who.did(f"{what} {subject}")
    return message


def _act(name: str, label: str, explains: str, act: Any, message: str, **more: Any) -> Act:
    what = f"limits {name}" if name in {"refresh", "purge"} else name
    return Act(name, label, explains, partial(_do, what, act, message), **more)


ACTS = {
    act.name: act
    for act in (
        _act(
            "refresh", "Refresh limits", "Fetch the limits from Zion now.",
            lambda user, _: operate.refresh(user), "Fetched from Zion.",
        ),
        _act(
            "purge", "Purge limits", "Forget what Zion said; the next call asks. Holds and unconfirmed usage stay.",
            lambda user, _: operate.purge(user), "Forgotten: the next call fetches the limits.", is_dangerous=True,
        ),
        _act(
            "revoke", "Revoke tokens", "Each token of this user is validated by Zion again before its next call.",
            lambda user, _: operate.revoke(user), "From now on every token is validated again.", is_dangerous=True,
        ),
        _act(
            "block", "Block", "Refuse every new call of this user, whatever Zion says, until somebody lifts it.",
            operate.block, "Blocked: no new call is admitted.", form=ReasonForm, is_dangerous=True,
        ),
        _act(
            "end-streams", "End streams", "End the streams of this user that are open now. Each is metered.",
            lambda user, _: operate.end_streams(user), "Open streams end within a second.", is_dangerous=True,
        ),
        _act(
            "unblock", "Unblock", "Let this user call again.",
            lambda user, _: operate.unblock(user), "No longer blocked.", is_dangerous=True,
        ),
    )
}  # fmt: skip


@admin.register(GovernedUser)
class GovernedUserAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """No rows of a table: each page asks Redis."""

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """Only our own pages. External ids may hold any sign, so they travel as a parameter."""
        view = self.admin_site.admin_view
        return [
            path("", view(self.users), name="usage_governeduser_changelist"),
            path("user/", view(self.user), name="usage_governeduser_change"),
            path("user/<slug:act>/", view(self.act), name="usage_governeduser_act"),
        ]

    def users(self, request: HttpRequest) -> HttpResponse:
        """Some users of the ledger, or the one that was asked for."""
        self._check_view(request)
        if wanted := request.GET.get("q", "").strip():
            return redirect(user_tables.url_of(wanted))
        try:
            context = user_tables.listed(look.users(_cursor(request.GET.get("from", ""))))
        except RedisUnavailable as error:
            context = {"trouble": f"Redis cannot be reached: {error}"}
        return self._page(request, "gateway/users.html", "Users", context)

    def user(self, request: HttpRequest) -> HttpResponse:
        """Everything that is known of one user."""
        self._check_view(request)
        external_id = _external_id(request)
        after = request.GET.get("tokens_from", "")
        try:
            context = user_tables.detail(external_id, int(after) if after.isascii() and after.isdigit() else 0)
            context["acts"] = _acts_for(context["state"]) if self.has_change_permission(request) else []
        except RedisUnavailable as error:
            context = {"trouble": f"Redis cannot be reached: {error}"}
        return self._page(request, "gateway/user.html", f"User {external_id}", context)

    def act(self, request: HttpRequest, act: str) -> HttpResponse:
        """Ask, or do it."""
        external_id, chosen = _external_id(request), ACTS.get(act)
        if chosen is None:
            raise Http404
        return serve(self, request, chosen, external_id, back=user_tables.url_of(external_id), title=external_id)

    def _check_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, template: str, title: str, context: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, template, {**common, **context})


def _acts_for(state: operate.UserState) -> list[Act]:
    left_out = "block" if state.blocked else "unblock"
    return [act for act in ACTS.values() if act.name != left_out]


def _external_id(request: HttpRequest) -> str:
    external_id = request.GET.get("id", "")
    if not external_id or len(external_id) > _LONGEST_ID:
        raise Http404
    return external_id


def _cursor(given: str) -> str:
    shard, dash, position = given.partition("-")
    return given if dash and given.isascii() and shard.isdigit() and position.isdigit() else ""


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class OperatorAdmin(UserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]  # unfold has no types
    """Who may use the admin, in the theme."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class OperatorGroupAdmin(GroupAdmin, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Permissions of several operators, in the theme."""
