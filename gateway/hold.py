"""What a call asks the ledger to hold for it, and the asking: the first half of its journey."""

from collections.abc import Awaitable, Callable
from functools import partial

from gateway.call import Call
from gateway.estimate import Estimate, max_output_tokens
from gateway.runtime import Runtime
from limits.replies import Revoked
from limits.values import Ask, Grant, Principal
from sentinel import config
from sentinel.exceptions import Unauthenticated
from usage.lease import ALLOWANCE_TOKENS
from usage.values import Source

Renew = Callable[[], Awaitable[Principal]]  # validates a caller again who was revoked since
_UNKNOWN = 2**31


def passable_tokens(call: Call) -> int:
    """Output that may be passed on before Redis must know of more: all of it, where nobody can count what passes."""
    if call.is_stream and call.is_counted:
        return ALLOWANCE_TOKENS
    return _UNKNOWN if call.is_stream or call.is_open else 0


def longest_wait(call: Call) -> float:
    """Seconds until the answer's head: nobody knows how long the provider works on what it does not stream."""
    settings = config.get()
    if call.is_stream:
        return settings.upstream_first_byte_seconds
    return settings.upstream_total_seconds + (0.0 if call.upload is None else settings.upload_timeout_seconds)


async def hold(call: Call, runtime: Runtime, renew: Renew) -> Grant:
    """Admit a call. Raises CallError."""
    estimate = call.estimate
    ask = Ask(0, 0, None, 0, requests=0) if estimate is None else _ask(call, estimate, runtime)
    draft = call.event(input_tokens=0, output_tokens=0, requests=0, source=Source.REAPED, admitted_ms=0).to_json()
    admit = partial(
        runtime.admission.admit,
        call_id=call.call_id,
        event=draft,
        passable=passable_tokens(call),
        floor=None if estimate is None else partial(_floor, call, runtime),
    )
    try:
        return await admit(call.principal, ask)
    except Revoked:
        principal = await renew()
    try:
        return await admit(principal, ask)
    except Revoked as error:
        raise Unauthenticated from error


def _ask(call: Call, estimate: Estimate, runtime: Runtime) -> Ask:
    margin = config.get().quota_input_margin_tokens if estimate.input_tokens or estimate.is_counted else 0
    least = estimate.cap if estimate.is_firm else None
    held_input, floor = estimate.input_tokens + margin, _floor(call, runtime)
    return Ask(held_input, estimate.choices, estimate.cap, _generous(call), floor=floor, least=least)


def _generous(call: Call) -> int:
    return min(max_output_tokens(call.model) or _UNKNOWN, config.get().quota_generous_output_tokens)


def _floor(call: Call, runtime: Runtime) -> int:
    otherwise = config.get().quota_floor_output_tokens
    return min(runtime.needs.floor(call.principal.external_id, call.model, otherwise), _generous(call))
