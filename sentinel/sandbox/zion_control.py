"""The control interface of Zion's simulator, below `/_control`, loopback only: read the books, set the scene."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from sentinel.sandbox.asgi import Request, Route
from sentinel.sandbox.cast import METRICS, User, member
from sentinel.sandbox.channel import Reply, json_reply
from sentinel.sandbox.faults import parse_fault
from sentinel.sandbox.zion_ledger import Applied, Outcome
from sentinel.sandbox.zion_state import State

# The control interface's words for the fields of a user.
_USER_FIELDS = {
    "name": "name",
    "token": "token",
    "id": "user_id",
    "externalId": "external_id",
    "email": "email",
    "limits": "limits",
    "used": "used",
    "revoked": "is_revoked",
    "forbidden": "is_forbidden",
    "profile": "profile",
    "period": "period",
}


class Control:
    """The doors; each is told what to do in JSON, and answers 400 to what it does not understand."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.routes = (
            Route("GET", "/_control/ledger", self.ledger),
            Route("GET", "/_control/applied", self.applied),
            Route("GET", "/_control/requests", self.requests),
            Route("POST", "/_control/users", _told(self.put_users)),
            Route("POST", "/_control/faults", _told(self.add_faults)),
            Route("DELETE", "/_control/faults", self.clear_faults),
            Route("POST", "/_control/keys", _told(self.set_keys)),
            Route("POST", "/_control/forms", _told(self.set_forms)),
            Route("POST", "/_control/reset", self.reset),
        )

    async def ledger(self, request: Request) -> Reply:
        """Applied totals per user name and model, and how many requests and keys there were."""
        state, books = self._state, self._state.ledger
        answer = {
            "models": books.totals,
            "users": books.user_totals(),
            "used": books.used,
            "applied": len(books.applied),
            "keys_seen": len(state.keys_seen),
            "duplicate_keys": state.duplicate_keys,
            "honours_keys": state.honours_keys,
        }
        return json_reply(200, answer)

    async def applied(self, request: Request) -> Reply:
        """Every applied request with its items, in order."""
        return json_reply(200, [_applied(each) for each in self._state.ledger.applied])

    async def requests(self, request: Request) -> Reply:
        """The requests that came, oldest first; `?endpoint=` for one endpoint's."""
        wanted = request.query.get("endpoint")
        seen = [asdict(each) for each in self._state.requests if wanted in {None, each.endpoint}]
        return json_reply(200, seen)

    def put_users(self, told: Any) -> object:
        """Add or change one user, or a list of them; by name."""
        users = [self._user(raw) for raw in (told if isinstance(told, list) else [told])]
        for user in users:
            self._state.ledger.put(user)
        return {"users": len(users)}

    def _user(self, raw: Mapping[str, Any]) -> User:
        if not set(raw) <= set(_USER_FIELDS) or "name" not in raw:
            raise ValueError(f"a user has a name, and of {', '.join(_USER_FIELDS)} what you want changed")
        values = {_USER_FIELDS[name]: value for name, value in raw.items()}
        known = self._state.ledger.users.get(raw["name"]) or member(raw["name"])
        for figures in ("limits", "used"):
            if not set(values.get(figures, ())) <= set(METRICS):
                raise ValueError(f"{figures} has {', '.join(METRICS)}")
        if "limits" in values:
            values["limits"] = {**known.limits, **values["limits"]}
        # Figures that are not named now are as they have become, not as they were at the start.
        return replace(known, **{"used": {}, **values})

    def add_faults(self, told: Any) -> object:
        """Queue one fault, or a list of them."""
        faults = [parse_fault(raw) for raw in (told if isinstance(told, list) else [told])]
        for fault in faults:
            self._state.faults.add(fault)
        return {"faults": len(self._state.faults)}

    async def clear_faults(self, request: Request) -> Reply:
        """Behave again."""
        self._state.faults.clear()
        return json_reply(200, {"faults": 0})

    def set_keys(self, told: Any) -> object:
        """Honour idempotency keys, or ignore them."""
        if told not in ({"honour": True}, {"honour": False}):
            raise ValueError("honour is true or false")
        self._state.honours_keys = told["honour"]
        return told

    def set_forms(self, told: Any) -> object:
        """Speak another generation of the contract."""
        self._state.forms = replace(self._state.forms, **told)
        return asdict(self._state.forms)

    async def reset(self, request: Request) -> Reply:
        """Begin again."""
        self._state.reset()
        return json_reply(200, {})


def _told(act: Callable[[Any], object]) -> Callable[[Request], Awaitable[Reply]]:
    async def handle(request: Request) -> Reply:
        try:
            return json_reply(200, act(request.json()))
        except (ValueError, TypeError) as error:
            return json_reply(400, {"error": str(error)})

    return handle


def _applied(request: Applied) -> dict[str, object]:
    items = [_item(outcome) for outcome in request.outcomes]
    return {"at": request.at, "endpoint": request.endpoint, "key": request.key, "items": items}


def _item(outcome: Outcome) -> dict[str, object]:
    item = outcome.item
    amounts = {metric: item.amounts.get(metric, 0) for metric in METRICS}
    about = {"identity": item.identity, "model": item.model, "timestamp": item.timestamp, "error": outcome.error}
    return {**about, **amounts}
