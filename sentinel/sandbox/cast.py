"""The cast: the five people whom tests, demo and benchmarks share. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

METRICS = ("input", "output", "requests")
# Zion's words for the three metrics of its one limit, and the names of the three limits of its older form.
WIRE_NAMES = {"input": "aiInputTokens", "output": "aiOutputTokens", "requests": "aiRequests"}
LIMIT_NAMES = {"input": "ai_input_tokens", "output": "ai_output_tokens", "requests": "ai_requests"}

Amounts = Mapping[str, int]
Limits = Mapping[str, int | None]

ZION_KEY = "sandbox-zion-key"
PROVIDER_KEY = "sandbox-provider-key"

_TOKENS = 1_000_000
_REQUESTS = 10_000
ROOMY: Limits = {"input": _TOKENS, "output": _TOKENS, "requests": _REQUESTS}
UNLIMITED: Limits = {"input": None, "output": None, "requests": None}


@dataclass(frozen=True, slots=True)
class User:
    """One person as Zion knows them.

    `limits` per metric, None is unlimited; `used` per metric at the start of the story. `profile` and `period` replace
    single fields of what Zion says about the user and the limit's period.
    """

    name: str
    token: str
    user_id: str
    external_id: str | None
    email: str
    limits: Limits = field(default_factory=lambda: ROOMY)
    used: Amounts = field(default_factory=dict)
    is_revoked: bool = False
    is_forbidden: bool = False
    profile: Mapping[str, object] = field(default_factory=dict)
    period: Mapping[str, object] = field(default_factory=dict)


def member(name: str, *, limits: Limits = ROOMY, used: Amounts | None = None, is_revoked: bool = False) -> User:
    """A user whose token and identities follow from the name."""
    return User(
        name=name,
        token=f"{name}-token",
        user_id=f"user-{name}",
        external_id=f"ext-{name}",
        email=f"{name}@example.com",
        limits=limits,
        used=used or {},
        is_revoked=is_revoked,
    )


ADA = member("ada")
BEN = member("ben", used={"output": _TOKENS - 1})
CLEO = member("cleo", is_revoked=True)
DORA = member("dora", limits=UNLIMITED)
ELI = member("eli", used={"input": 2 * _TOKENS, "output": 2 * _TOKENS, "requests": 2 * _REQUESTS})
CAST = (ADA, BEN, CLEO, DORA, ELI)
