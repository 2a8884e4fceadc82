"""The admin's login form, which locks out who guesses: an address from an account, then from all, then the account.

Attempts are counted before the password is looked at, so that many at once get no more than their share. Counters are
in the cache server; when it is away nobody logs in, as sessions are there too.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import structlog
from django.core.exceptions import ValidationError
from django_redis import get_redis_connection
from unfold.forms import AuthenticationForm

from gateway import keys
from gateway.throttle import client_address
from limits.record import Operator
from sentinel import config

log = structlog.get_logger(__name__)
# One office may share an address, and a locked account is a way to keep its owner out: both have more room.
_ADDRESS_SHARE = 4
_ACCOUNT_SHARE = 20


class LoginForm(AuthenticationForm):  # type: ignore[misc]  # unfold has no types
    """Refuses without looking at the password while too many attempts have failed."""

    def clean(self) -> dict[str, Any]:
        """Raises ValidationError for a lockout as for a wrong password."""
        account, address = str(self.cleaned_data.get("username") or ""), _address(self.request)
        attempt = list(_counters(account, address))
        if full := _count(attempt):
            self._refuse(account, address, is_first=full == 1)
        cleaned: dict[str, Any] = super().clean()
        _forget(attempt)
        return cleaned

    def _refuse(self, account: str, address: str, *, is_first: bool) -> None:
        seconds = config.get().admin_lockout_seconds
        if is_first:
            log.warning("admin_login_locked", address=address, seconds=seconds)
            why = f"more than {config.get().admin_login_failures} failed attempts in {seconds} s"
            Operator(f"{account[:64]!r} from {address}", why).did("admin login locked")
        message = f"Too many failed attempts. Try again in {-(-seconds // 60)} minutes."
        raise ValidationError(message, code="locked")


def _counters(account: str, address: str) -> Iterator[tuple[str, int]]:
    """Each counter of one attempt, and how many attempts it allows."""
    allowed = config.get().admin_login_failures
    yield _key("both", account.casefold(), address), allowed
    yield _key("address", address), allowed * _ADDRESS_SHARE
    yield _key("account", account.casefold()), allowed * _ACCOUNT_SHARE


def _count(attempt: list[tuple[str, int]]) -> int:
    """Count one attempt. By how many the fullest counter is beyond what it allows; 0: look at the password."""
    with get_redis_connection("default").pipeline(transaction=True) as pipeline:
        for key, _ in attempt:
            pipeline.set(key, 0, ex=config.get().admin_lockout_seconds, nx=True)
            pipeline.incr(key)
        counts: list[int] = pipeline.execute()[1::2]
    return max(0, *(count - allowed for count, (_, allowed) in zip(counts, attempt, strict=True)))


def _forget(attempt: list[tuple[str, int]]) -> None:
    """The password was right: this account begins anew here, and the attempt counts for nobody."""
    with get_redis_connection("default").pipeline(transaction=True) as pipeline:
        pipeline.delete(attempt[0][0], attempt[2][0])
        pipeline.decr(attempt[1][0])
        pipeline.execute()


def _key(*parts: str) -> str:
    return keys.login_failures(hashlib.sha256("\0".join(parts).encode()).hexdigest())


def _address(request: Any) -> str:
    trusted = frozenset(part.strip() for part in config.get().trusted_proxies.split(",") if part.strip())
    peer = (request.META.get("REMOTE_ADDR") or "unknown", 0)
    return client_address(peer, request.META.get("HTTP_X_FORWARDED_FOR"), trusted)
