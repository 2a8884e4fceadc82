"""Reporting before the answer ends (`USAGE_REPORTING=inline`): one settled call, sealed and sent on the request path.

The event is durable in the stream before. Sealing is compare-and-seal, so either this request or a worker sends it.
Whatever keeps it from being confirmed inside the budget leaves it to the worker: unsealed when nothing was tried, else
as the same bytes to the same endpoint under the same key.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import random
from typing import Protocol

import structlog

from limits.keys import shard_of
from sentinel.lib.breaker import Answer
from sentinel.lib.redis import RedisUnavailable
from sentinel.zion.schemas import Delivery, Endpoint, Verdict
from usage import outbox
from usage.aggregate import Entry, plan
from usage.batch import Batch, Draft, Kind
from usage.resolution import decide
from usage.send import Terms, account, breaker_outcome
from usage.values import UsageEvent

log = structlog.get_logger(__name__)

_ENDPOINT: Endpoint = "increment"
_LEAST_SECONDS = 0.1


class AsyncReporter(Protocol):
    """What inline reporting needs of Zion's asynchronous client."""

    async def report(
        self, endpoint: Endpoint, body: bytes, key: str, identities: Sequence[str], timeout_seconds: float | None = None
    ) -> Delivery:
        """Send one report; never raises."""


@dataclass(frozen=True, slots=True)
class Inline:
    """Inline reporting of one process: its client, the terms that it shares with the workers, its budget."""

    zion: AsyncReporter
    terms: Terms
    budget_seconds: float

    async def report(self, event: UsageEvent, entry_id: str) -> bool:
        """Report one settled call by its stream entry; true when Zion has confirmed it. Never raises."""
        shard = shard_of(event.external_id)
        try:
            async with asyncio.timeout(self.budget_seconds) as budget:
                draft = _draft(await outbox.read_one(shard, entry_id))
                token = await self._enter() if draft else ""
                batch = await self._seal(shard, draft) if draft and token else None
        except (RedisUnavailable, TimeoutError, ValueError) as error:
            log.warning("inline_left_to_worker", call=event.call_id, reason=str(error))
            return False
        if not token or batch is None:
            return False
        left = (budget.when() or 0.0) - asyncio.get_running_loop().time()
        # At least a moment: what is sealed is sent, or its outcome would be unknown for nothing.
        delivery = await self.zion.report(
            batch.endpoint, batch.body, batch.key, batch.identities, timeout_seconds=max(left, _LEAST_SECONDS)
        )
        return await self._write_down(shard, batch, delivery, token)

    async def _enter(self) -> str:
        """The breaker's token when this send is allowed now, else nothing: the request path does not wait for it."""
        admitted: Answer = await self.terms.breaker.admit_async()
        if not admitted.granted:
            return ""
        if not (await self.terms.permits.take_async()).granted:
            await self.terms.breaker.report_async(admitted.token, "abandon")
            return ""
        return admitted.token

    async def _seal(self, shard: int, draft: Draft) -> Batch | None:
        terms = self.terms
        return await outbox.seal_claimed(
            shard,
            draft,
            terms.form,
            endpoint=_ENDPOINT,
            lease_seconds=terms.lease_seconds,
            sole=not terms.policy.honours_keys,
        )

    async def _write_down(self, shard: int, batch: Batch, delivery: Delivery, token: str) -> bool:
        """Outside the budget, yet bounded by Redis' own deadline: an unwritten outcome would be in doubt."""
        resolution = decide(batch, delivery, self.terms.policy, chance=random())  # noqa: S311
        try:
            if await outbox.resolve_async(shard, batch, resolution, self.terms.form):
                account(batch, resolution)
            await self.terms.breaker.report_async(token, breaker_outcome(delivery))
            if delivery.retry_after_seconds and delivery.verdict is Verdict.NOT_APPLIED:
                await self.terms.permits.pause_async(delivery.retry_after_seconds)
        except RedisUnavailable as error:
            log.warning("inline_outcome_not_written", batch=batch.id, outcome=resolution.outcome, reason=error.reason)
            return False
        return resolution.outcome == "applied" and not resolution.children


def _draft(entry: Entry | None) -> Draft | None:
    """The event alone, or nothing when it is not for sending: the worker confirms zeros and sets junk aside."""
    drafts = plan([entry] if entry else [], max_items=1)
    return drafts[0] if drafts and drafts[0].kind is Kind.SEND else None
