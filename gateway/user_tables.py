"""What the admin shows of users, as tables: limits and counters, open reservations, remembered tokens."""

from typing import Any

from django.urls import reverse

from gateway import known_tokens
from limits import look, operate
from usage import show

DETAIL = "admin:usage_governeduser_change"


def listed(found: look.Users) -> dict[str, Any]:
    """A page of users."""
    rows = [
        [
            show.link(url_of(user.external_id), user.external_id),
            show.label("blocked") if user.blocked else "",
            show.moment(user.fetched_ms),
            ", ".join(user.quotas) or ("unlimited" if user.fetched_ms else show.NOTHING),
            user.open_calls,
        ]
        for user in sorted(found.rows, key=lambda user: user.external_id)
    ]
    return {"table": show.table(["User", "", "Read from Zion", "Quotas", "Open calls"], rows), "cursor": found.cursor}


def detail(external_id: str, tokens_from: int) -> dict[str, Any]:
    """Everything that is known of one user. Raises RedisUnavailable."""
    state, tokens = operate.state_of(external_id), known_tokens.of(external_id, tokens_from)
    held = look.open_calls(external_id)
    return {
        "state": state,
        "external_id": external_id,
        "facts": [
            ("External id", external_id),
            (
                "Read from Zion",
                show.moment(state.fetched_ms) if state.is_known else "not cached: the next call fetches it",
            ),
            ("Open calls", state.open_calls),
            ("Blocked", state.blocked or "no"),
            ("Tokens revoked", show.moment(state.revoked_ms)),
        ],
        "quotas": _quotas(state),
        "open_calls": _open(held),
        "is_all": held.is_all,
        "tokens": _tokens(tokens, state.revoked_ms),
        "tokens_cursor": tokens.cursor,
    }


def _quotas(state: operate.UserState) -> dict[str, Any]:
    rows = [
        [
            q.quota,
            f"{q.limit:,}",
            f"{q.used:,}",
            f"{q.pending:,}",
            f"{q.held:,}",
            f"{q.free:,}",
            show.moment(q.period_end_ms),
        ]
        for q in state.quotas
    ]
    return show.table(["Quota", "Limit", "Used at Zion", "Unconfirmed", "Held", "Free", "Period ends"], rows)


def _open(found: look.OpenCalls) -> dict[str, Any]:
    rows = [
        [
            call.call_id,
            show.moment(call.admitted_ms),
            show.moment(call.lease_ms),
            show.amounts(call.hold),
            f"{call.received:,}",
        ]
        for call in found.calls
    ]
    return show.table(["Call", "Admitted", "Lease ends", "Holds", "Output passed at most"], rows)


def _tokens(found: known_tokens.Look, revoked_ms: int) -> dict[str, Any]:
    rows = [
        [
            token.hash,
            show.moment(token.validated_ms),
            f"in {show.span(token.in_seconds)}",
            "asked again" if token.validated_ms <= revoked_ms else "believed",
        ]
        for token in found.tokens
    ]
    return show.table(["SHA-256 of the token", "Validated", "Forgotten", "At its next call"], rows)


def url_of(external_id: str) -> str:
    """The page of a user."""
    return reverse(DETAIL, query={"id": external_id})
