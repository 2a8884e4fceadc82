"""What follows a settle: metrics, the log fields of the call, a nudge for delivery, and the inline report."""

import structlog

from gateway.call import Call
from gateway.runtime import Runtime
from limits.values import Grant
from sentinel import config
from sentinel.lib import metrics
from sentinel.lib.asgi import Exchange
from sentinel.lib.background import spawn
from usage.nudge import nudge
from usage.recorder import Receipt
from usage.values import NO_DETAILS, Source, UsageEvent

log = structlog.get_logger("reporting")


async def after_settle(
    call: Call, grant: Grant, event: UsageEvent, receipt: Receipt, exchange: Exchange, runtime: Runtime
) -> None:
    """Tell metrics and log; start delivery where it should not wait for the next tick."""
    _measure(call, grant, event)
    exchange.fields.update(
        model=event.model, input=event.input, output=event.output, source=event.source, settled=receipt.status
    )
    if event.details != NO_DETAILS:
        exchange.fields["details"] = event.details.told()
    if receipt.waiting and receipt.waiting % config.get().flush_events == 0 and runtime.may_nudge():
        spawn(nudge())
    if config.get().usage_reporting == "inline" and receipt.entry_id and event.requests:
        report = runtime.inline.report(event, receipt.entry_id)
        if call.is_stream:
            spawn(report)
        else:
            await report


def _measure(call: Call, grant: Grant, event: UsageEvent) -> None:
    model = metrics.model_label(event.model)
    metrics.add(metrics.of(metrics.TOKENS, "input", model), event.input)
    metrics.add(metrics.of(metrics.TOKENS, "output", model), event.output)
    if event.source is not Source.PROVIDER:
        metrics.of(metrics.ESTIMATION_FALLBACK, event.source).inc()
    elif call.estimate is not None and event.requests:
        counted = call.estimate.input_tokens
        metrics.of(metrics.ESTIMATION_DIFF, model).observe(event.input - counted)
        metrics.of(metrics.ESTIMATION_DIFF_PCT, model).observe((event.input - counted) * 100 / max(counted, 1))
        if event.input > grant.held_input:
            metrics.of(metrics.OVERRUN, "input").inc(event.input - grant.held_input)
        if event.output > grant.held_output:
            metrics.of(metrics.OVERRUN, "output").inc(event.output - grant.held_output)
