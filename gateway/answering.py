"""What the caller gets for a whole answer of the provider that has been settled: itself, or an error."""

import structlog

from gateway import keeping, outcome
from gateway.call import Call
from gateway.headers import downward, rate_headers
from gateway.responses import Headers, RelayResponse
from gateway.upstream import Reply, Upstream, scrub, scrub_error
from limits.values import Grant
from sentinel.exceptions import CallError, UpstreamError
from sentinel.lib import metrics
from usage.values import Source

log = structlog.get_logger("answering")


def headers_of(call: Call, grant: Grant, headers: Headers) -> Headers:
    """The head of an answer: what passes of the provider's, and ours about the rate window, the quotas and the cap."""
    rate = rate_headers(grant.rate.limit, grant.rate.remaining, -(-grant.rate.reset_ms // 1000))
    passed = [*downward(headers), *rate]
    if grant.left:
        passed.append((b"x-sentinel-quota-remaining", grant.left.encode()))
    cap = call.cap_to_send(grant.cap)
    if cap is not None and call.estimate is not None and cap != call.estimate.cap:
        passed.append((b"x-sentinel-output-cap", b"%d" % cap))
    return passed


async def response_to(
    call: Call, grant: Grant, reply: Reply, body: bytes, source: Source, upstream: Upstream
) -> RelayResponse:
    """The response for an answer whose figures are known from `source`. Raises CallError for one in our own words."""
    if source is Source.PARTIAL:
        raise UpstreamError("The provider's answer is not JSON.")
    if 200 <= reply.status < 300:
        if call.keeps:
            body = await keeping.of_answer(call, body, upstream)
        return RelayResponse(reply.status, headers_of(call, grant, reply.headers), scrub_error(body))
    answer = outcome.provider_error(reply.status, reply.headers, body)
    metrics.UPSTREAM_ERRORS.labels(f"status_{reply.status // 100}xx").inc()
    log.warning("upstream_refused", call_id=call.call_id, status=reply.status)
    if isinstance(answer, CallError):
        raise answer
    # Before a 5xx the provider may have worked, and billed; what it refuses with a 4xx it did not begin.
    once = [(b"x-should-retry", b"false")] if reply.status >= 500 else []
    return RelayResponse(answer[0], [*headers_of(call, grant, reply.headers), *once], scrub(answer[1]))
