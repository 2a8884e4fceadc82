"""Lanes of delivery: each takes a due batch, sends it, writes down what became of it, and takes the next.

Before each send the breaker and a permit are asked; an open breaker ends the lane, a missing permit is waited for.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import random
from threading import Event
from typing import Protocol

import structlog

from sentinel.config import Config
from sentinel.lib import metrics
from sentinel.lib.breaker import Breaker, Outcome, Permits
from sentinel.lib.clock import monotonic
from sentinel.lib.redis import RedisUnavailable
from sentinel.zion.schemas import Delivery, Endpoint, Limit, Verdict, ZionUnavailable
from usage import figures, keys, outbox
from usage.batch import Batch, Form, State
from usage.gate import Gate, Pass
from usage.outbox import Claim
from usage.readback import decide_by_figures, not_read
from usage.resolution import Place, Policy, Resolution, backoff_ms, decide, hold, lost, put_back, reason_to_hold

log = structlog.get_logger(__name__)

_LEASE_MARGIN_SECONDS = 5.0
_MISSES = 5  # in a row: what is due is being sent by others, or waits for them
_WRITE_AGAIN_AFTER = (0.05, 0.2, 0.5, 1.0, 2.0)  # seconds; together shorter than the lease's margin


class Reporter(Protocol):
    """What delivery needs of Zion's synchronous client."""

    def report(self, endpoint: Endpoint, body: bytes, key: str, identities: Sequence[str]) -> Delivery:
        """Send one report; never raises."""

    def fetch_limits(self, external_id: str) -> tuple[Limit, ...]:
        """A user's limits. Raises ZionUnknownUser or ZionUnavailable."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of delivery.

    The lease is longer than any send, or two senders could overlap. Reading the figures of all users of a batch back
    takes at most `reading_seconds`, else it is put off.
    """

    form: Form
    policy: Policy
    breaker: Breaker
    permits: Permits
    lease_seconds: float
    max_items: int
    lanes: int = 4
    reading_seconds: float = 120.0
    write_again_after: tuple[float, ...] = _WRITE_AGAIN_AFTER


class _NoTime(Exception):
    """The worker stops, or permits are too scarce."""


def terms_of(config: Config) -> Terms:
    """The terms that the settings ask for."""
    send_seconds = config.zion_batch_timeout_seconds
    return Terms(
        form=Form(config.zion_usage_identity, config.zion_usage_shape),
        policy=Policy(config.zion_honours_keys, config.delivery_max_tries, int(config.zion_quiet_seconds * 1000)),
        breaker=Breaker(keys.breaker(), config.breaker_failures, config.breaker_open_seconds, send_seconds),
        permits=Permits(keys.permits(), config.zion_requests_per_second),
        lease_seconds=send_seconds + _LEASE_MARGIN_SECONDS,
        max_items=config.batch_max_items,
    )


@dataclass(frozen=True, slots=True)
class Lanes:
    """What the lanes of one pass share."""

    shard: int
    zion: Reporter
    terms: Terms
    deadline: float
    stop: Event

    @property
    def gate(self) -> Gate:
        """Where each send is permitted."""
        return Gate(self.terms.breaker, self.terms.permits, self.deadline, self.stop)

    def is_over(self) -> bool:
        return self.stop.is_set() or monotonic() >= self.deadline

    def run(self, lane: int) -> Counter[str]:
        """Send due batches one after the other until there is none, or sending is not possible."""
        counts: Counter[str] = Counter()
        misses = 0
        while not self.is_over() and misses < _MISSES:
            _, candidates = outbox.due(self.shard, 5 * self.terms.lanes)
            if not candidates:
                return counts
            entry = self.gate.enter()
            if isinstance(entry, str):
                counts[f"stopped:{entry}"] += 1
                return counts
            first = lane % len(candidates)
            # Lanes begin at different candidates, or they would all try to claim the same one.
            taken = monotonic()
            claim = self._claim(candidates[first:] + candidates[:first])
            misses = 0 if claim else misses + 1
            if claim is None:
                self.gate.leave(entry)
            elif claim.batch.state is State.DOUBTED:
                counts += self._read_back(claim.batch, entry)
            elif stop := self._not_to_be_sent(claim):
                self.gate.leave(entry)
                counts += self._write_down(claim.batch, stop)
            else:
                counts += self._attempt(claim.batch, entry, taken + _LEASE_MARGIN_SECONDS)
        return counts

    def _not_to_be_sent(self, claim: Claim) -> Resolution | None:
        policy = self.terms.policy
        if reason := reason_to_hold(claim.batch, policy, in_doubt=claim.in_doubt):
            return hold(claim.batch, reason)
        return lost(claim.batch, policy) if claim.in_doubt and not policy.honours_keys else None

    def _claim(self, candidates: list[str]) -> Claim | None:
        for batch_id in candidates:
            if claim := outbox.claim(
                self.shard,
                batch_id,
                self.terms.lease_seconds,
                reading_seconds=self.terms.reading_seconds,
                sole=not self.terms.policy.honours_keys,
            ):
                return claim
        return None

    def _read_back(self, batch: Batch, entry: Pass) -> Counter[str]:
        """Have Zion's figures say what became of a batch. A reader that dies costs nothing: it is read again."""
        ends = monotonic() + self.terms.reading_seconds * 0.9
        outcome: Outcome = "success"
        try:
            readings = figures.read(batch, self.zion, partial(self._wait_to_read, ends))
            done = decide_by_figures(batch, readings, chance=random())  # noqa: S311
        except ZionUnavailable as error:
            outcome = "failure" if error.retry_after is None else "abandon"
            delay_ms = backoff_ms(batch.tries, chance=random())  # noqa: S311
            done = not_read(batch, error.reason, self.terms.policy, delay_ms=delay_ms)
            if error.retry_after:
                self.terms.permits.pause(error.retry_after)
        except _NoTime:
            outcome = "abandon"
            done = not_read(batch, "no time", self.terms.policy, delay_ms=1000)
        self.gate.done(entry, outcome)
        return self._write_down(batch, done)

    def _wait_to_read(self, ends: float) -> None:
        if not self.gate.next_permit(ends):
            raise _NoTime

    def _attempt(self, batch: Batch, entry: Pass, ends: float) -> Counter[str]:
        """Send, if that begins before `ends`: later, another may have taken over and sent it."""
        if (fresh := self.gate.renew(entry, ends)) is None:
            return self._write_down(batch, put_back(batch))
        delivery = self.zion.report(batch.endpoint, batch.body, batch.key, batch.identities)
        counts = self._write_down(batch, decide(batch, delivery, self.terms.policy, chance=random()))  # noqa: S311
        counts["sent"] += 1
        self.gate.done(fresh, breaker_outcome(delivery))
        if delivery.retry_after_seconds and delivery.verdict is Verdict.NOT_APPLIED:
            self.terms.permits.pause(delivery.retry_after_seconds)
        if delivery.key_refused:
            log.error("zion_refuses_our_key", status=delivery.status, batch=batch.id)
        return counts

    def _write_down(self, batch: Batch, resolution: Resolution) -> Counter[str]:
        """The outcome is known to nobody else: Redis is asked again for as long as the lease allows."""
        for pause in self.terms.write_again_after:
            try:
                return self._resolved(batch, resolution)
            except RedisUnavailable as error:
                log.warning("outcome_not_written", batch=batch.id, outcome=resolution.outcome, reason=error.reason)
                Event().wait(pause)
        return self._resolved(batch, resolution)

    def _resolved(self, batch: Batch, resolution: Resolution) -> Counter[str]:
        if not outbox.resolve(self.shard, batch, resolution, self.terms.form):
            log.warning("outcome_came_late", batch=batch.id, outcome=resolution.outcome, tries=batch.tries)
            return Counter()
        return account(batch, resolution)


def account(batch: Batch, resolution: Resolution) -> Counter[str]:
    """Count and log one decision that was written down."""
    dead = [child for child in resolution.children if child.place is Place.DEAD]
    moved = sum(len(child.draft.items) for child in resolution.children)
    counts = Counter({resolution.outcome: 1})
    if resolution.outcome == "applied":
        counts["applied_items"] = len(batch.items) - moved
        metrics.USAGE_SUCCESS.inc(len(batch.items) - moved)
    else:
        metrics.USAGE_FAILED.labels(resolution.outcome).inc()
    if resolution.outcome in {"ambiguous", "held"}:
        metrics.USAGE_AMBIGUOUS.inc()
    if aside := [child for child in resolution.children if child.place is Place.HELD]:
        counts["held"] += len(aside)
        metrics.USAGE_AMBIGUOUS.inc()
    if dead:
        counts["dead_items"] = len(dead)
        metrics.USAGE_DEAD.inc(len(dead))
    if resolution.outcome != "applied" or moved:
        reason = resolution.fields.get("reason") or next((child.draft.reason for child in resolution.children), "")
        log.warning("usage_not_confirmed", batch=batch.id, outcome=resolution.outcome, reason=reason,
                    items=moved or len(batch.items), dead=len(dead), tries=batch.tries)  # fmt: skip
    return counts


def breaker_outcome(delivery: Delivery) -> Outcome:
    """What an attempt says about Zion as such. A refused key stops everything at once: all requests would fail."""
    if delivery.key_refused:
        return "trip"
    if delivery.trips_breaker:
        return "failure"
    return "abandon" if delivery.verdict is Verdict.AMBIGUOUS else "success"
