"""Call: one proxied request as frozen values. Ids are minted here. Pure but for the clock and randomness of ids."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.bodies import Body
from gateway.estimate import Estimate, checked_model, max_output_tokens, upstream_changes
from gateway.uploads import Upload
from limits.values import Principal
from sentinel.lib import clock
from usage.values import NO_DETAILS, Details, Source, UsageEvent


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the provider, from acceptance to settlement.

    `path` comes from our route table, never from client text. `estimate` is None where nothing is metered (models),
    `body` where nothing goes up, or an `upload` does. `cap_field` is the member that carries a granted output cap.
    `terminal` names the events that end a stream besides `[DONE]`. `is_open`: the answer may be of any form and size,
    and is passed on as it comes. `keeps`: what it creates is stored at the provider, and belongs to the caller;
    `lists`: it asks for a list of such objects.
    """

    call_id: str
    principal: Principal
    endpoint: str
    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: Body | None
    estimate: Estimate | None
    cap_field: str
    request_id: str
    terminal: tuple[bytes, ...] = ()
    is_open: bool = False
    keeps: bool = False
    lists: bool = False
    upload: Upload | None = None

    @property
    def model(self) -> str:
        """The model as requested, "" where there is none."""
        return self.estimate.model if self.estimate else ""

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.estimate is not None and self.estimate.stream

    @property
    def requests(self) -> int:
        """What an answered call counts as."""
        return 0 if self.estimate is None else 1

    @property
    def is_counted(self) -> bool:
        """Whether the answer is text, whose tokens we count where the provider does not."""
        return self.estimate is not None and self.estimate.is_counted

    def with_uploaded_model(self) -> "Call":
        """The same call, named by what its form said. Raises BadRequest for a name that is none."""
        if self.upload is None or self.estimate is None or not self.upload.model:
            return self
        return replace(self, estimate=replace(self.estimate, model=checked_model(self.upload.model)))

    def cap_to_send(self, granted: int | None) -> int | None:
        """The granted output cap if it must be named. The model's own maximum is a bound that needs no name, and naming
        it is an error where the whole context is not larger; but a cap of the caller's never stands above the grant."""
        if self.estimate is not None and self.estimate.is_firm:
            return None
        most = max_output_tokens(self.model)
        has_own = self.estimate is not None and bool(self.estimate.caps)
        return None if granted is None or (not has_own and most is not None and granted >= most) else granted

    def upstream_body(self, granted_cap: int | None) -> bytes:
        """The bytes that go up: as they came, but for the members that we must set."""
        if self.body is None or self.estimate is None:
            return b""
        cap = self.cap_to_send(granted_cap)
        changes, additions = upstream_changes(self.body, self.estimate, cap_field=self.cap_field, granted_cap=cap)
        return self.body.splice(changes, additions) if changes or additions else self.body.raw

    def event(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        requests: int,
        source: Source,
        admitted_ms: int,
        details: Details = NO_DETAILS,
    ) -> UsageEvent:
        """The usage event of this call with these figures."""
        principal = self.principal
        return UsageEvent(
            call_id=self.call_id,
            user_id=principal.user_id,
            external_id=principal.external_id,
            email=principal.email,
            model=self.model,
            endpoint=self.endpoint,
            input=input_tokens,
            output=output_tokens,
            requests=requests,
            source=source,
            admitted_ms=admitted_ms,
            request_id=self.request_id,
            details=details,
        )


def mint_id() -> str:
    """32 hex digits, ordered by time (48 bits of ms, 80 random bits): never derived from what a client sends."""
    return f"{clock.now_ms():012x}{next(_random)}"


def _twenty_digits() -> Iterator[str]:
    """Random hex digits; the kernel is asked once for many."""
    while True:
        digits = os.urandom(10 * 400).hex()
        yield from (digits[at : at + 20] for at in range(0, len(digits), 20))


_random = _twenty_digits()
