"""The whole error tree. `gateway/errors.py` is the only place that renders it.

SentinelError
├── ConfigError                 a setting is wrong; the process does not start
└── CallError                   a call is answered with an error (status, type, code)
    ├── BadRequest              400  invalid_request_error
    ├── Unauthenticated         401  missing_token | invalid_token
    ├── Forbidden               403  user_forbidden
    ├── EndpointNotAllowed      403  endpoint_not_allowed
    ├── NotFound                404  not_found
    ├── MethodNotAllowed        405  method_not_allowed
    ├── RequestTimedOut         408  request_timeout
    ├── PayloadTooLarge         413  payload_too_large
    ├── UnsupportedMediaType    415  unsupported_media_type
    ├── RateLimitExceeded       429  rate_limit_exceeded
    ├── QuotaExceeded           429  quota_exceeded
    ├── UpstreamError           502  upstream_error
    │   ├── UpstreamAuth        502  upstream_auth
    │   ├── UpstreamForbidden   403  upstream_forbidden
    │   └── UpstreamTimeout     504  upstream_timeout
    └── Unavailable             503
        ├── GovernanceUnavailable   governance_unavailable
        ├── QuotaStoreUnavailable   quota_store_unavailable
        ├── JournalUnavailable      usage_journal_unavailable
        └── ShuttingDown            shutting_down
"""

from collections.abc import Mapping
from typing import ClassVar


class SentinelError(Exception):
    """Anything that Sentinel raises on purpose."""


class ConfigError(SentinelError):
    """One or more settings are wrong; `problems` names each, never its secret value."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"The configuration has {len(problems)} problem(s):{lines}")


class CallError(SentinelError):
    """A call that is answered with an error.

    `message` is in our own words and safe for the caller. `retry_after_seconds` becomes `Retry-After`,
    `should_retry` becomes `x-should-retry`, which the OpenAI clients obey.
    """

    status: int = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str] = "internal_error"
    default_message: ClassVar[str] = "Sentinel could not handle this request."
    default_should_retry: ClassVar[bool | None] = None

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        param: str | None = None,
        details: Mapping[str, object] | None = None,
        retry_after_seconds: int | None = None,
        should_retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or self.default_message
        self.error_code = code or self.code
        self.param = param
        self.details = details
        self.retry_after_seconds = retry_after_seconds
        self.should_retry = self.default_should_retry if should_retry is None else should_retry
        self.headers = dict(headers or {})
        self.rate: tuple[int, int, int] | None = None  # limit, remaining, reset ms: of a refusal by the rate window
        super().__init__(self.message)


class BadRequest(CallError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    default_message = "The request is not valid."


class Unauthenticated(CallError):
    status = 401
    type = "authentication_error"
    code = "invalid_token"
    default_message = "The token was not accepted."


class Forbidden(CallError):
    status = 403
    type = "permission_error"
    code = "user_forbidden"
    default_message = "This user may not use the service."


class EndpointNotAllowed(CallError):
    status = 403
    type = "permission_error"
    code = "endpoint_not_allowed"
    default_message = "This endpoint is not available here."


class NotFound(CallError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"
    default_message = "There is nothing at this address."


class MethodNotAllowed(CallError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    default_message = "This endpoint does not take this method."


class RequestTimedOut(CallError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"
    default_message = "The request did not arrive in time."


class PayloadTooLarge(CallError):
    status = 413
    type = "invalid_request_error"
    code = "payload_too_large"
    default_message = "The request is too large."


class UnsupportedMediaType(CallError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"
    default_message = "The request body must be plain, uncompressed JSON."


class RateLimitExceeded(CallError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    default_message = "Too many requests. Slow down and try again."


class QuotaExceeded(CallError):
    status = 429
    type = "insufficient_quota"
    code = "quota_exceeded"
    default_message = "The quota of this period is used up."
    default_should_retry = False


class UpstreamError(CallError):
    """The provider failed; raised once a request byte may have left, so a retry would be billed again."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    default_message = "The provider did not answer properly."
    default_should_retry = False


class UpstreamAuth(UpstreamError):
    code = "upstream_auth"
    default_message = "The provider refused this gateway. Its operators have been told."


class UpstreamForbidden(UpstreamError):
    status = 403
    code = "upstream_forbidden"
    default_message = "The provider does not allow this request."


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"
    default_message = "The provider did not answer in time."


class Unavailable(CallError):
    status = 503
    type = "service_unavailable"
    code = "service_unavailable"
    default_message = "The service is not available right now."
    default_should_retry = True


class GovernanceUnavailable(Unavailable):
    code = "governance_unavailable"
    default_message = "The governance service cannot be reached right now."


class QuotaStoreUnavailable(Unavailable):
    code = "quota_store_unavailable"
    default_message = "Quotas cannot be checked right now."


class JournalUnavailable(Unavailable):
    code = "usage_journal_unavailable"
    default_message = "Usage cannot be recorded right now."


class ShuttingDown(Unavailable):
    code = "shutting_down"
    default_message = "This server is shutting down."
