"""What operators do in the admin: a page that says what will happen and asks why, and the POST that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminTextareaWidget

from limits.record import Operator
from sentinel.lib.redis import RedisUnavailable
from sentinel.zion.schemas import ZionError


class Refused(Exception):
    """It could not be done; the message says why, to the operator."""


class WhyForm(forms.Form):
    """Why, in the operator's words; may be left out."""

    reason = forms.CharField(
        label="Reason",
        max_length=2000,
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
        help_text="Recorded with your name.",
    )


class ReasonForm(WhyForm):
    """Why, which must be said."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = True


class AddressForm(WhyForm):
    """The new address of a user."""

    field_order = ("email", "reason")
    email = forms.EmailField(label="New e-mail address", max_length=254, widget=UnfoldAdminEmailInputWidget)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that an operator may do. `run` gets subject, form data and operator, and returns what to say.

    `run` raises Refused when it cannot be done.
    """

    name: str
    label: str
    explains: str
    run: Callable[[str, Mapping[str, Any], Operator], str]
    form: type[WhyForm] = WhyForm
    is_dangerous: bool = False


def serve(page: Any, request: HttpRequest, act: Act, subject: str, *, back: str, title: str) -> HttpResponse:
    """GET: ask. POST: do it, record it, go back. Raises PermissionDenied without the change permission."""
    if not page.has_change_permission(request):
        raise PermissionDenied
    if request.method not in {"GET", "POST"}:
        return HttpResponseNotAllowed(["GET", "POST"])
    form = act.form(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        _do(request, act, subject, form.cleaned_data)
        return redirect(back)
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": f"{act.label}: {title}",
        "act": act,
        "form": form,
        "back": back,
    }
    return TemplateResponse(request, "usage/act.html", context)


def _do(request: HttpRequest, act: Act, subject: str, given: Mapping[str, Any]) -> None:
    who = Operator(request.user.get_username(), given.get("reason", ""))
    try:
        messages.success(request, act.run(subject, given, who))
    except Refused as error:
        messages.warning(request, str(error))
    except RedisUnavailable as error:
        messages.error(request, f"Redis cannot be reached ({error.reason}). Nothing was changed.")
    except ZionError as error:
        messages.error(request, f"Zion did not say: {error}")
    except DatabaseError as error:
        messages.error(request, f"The database failed; see whether it was done before you try again: {error}")
