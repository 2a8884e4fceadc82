"""Every sentinel_* metric, declared once. Labels come from closed sets: their number has a bound."""

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram, values

if os.environ.get("PROMETHEUS_MULTIPROC_DIR") and not TYPE_CHECKING:
    # The library asks the kernel for our process id at each increment, to notice a fork. Our processes are spawned.
    _PID = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _PID)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKENS = (-10_000, -1000, -100, -10, -1, 0, 1, 10, 100, 1000, 10_000)
_PERCENT = (-100, -50, -20, -10, -5, -1, 0, 1, 5, 10, 20, 50, 100)

REQUESTS = Counter("sentinel_requests_total", "Answered requests.", ["endpoint", "status", "model"])
DURATION = Histogram(
    "sentinel_request_duration_seconds", "From the request's head to the last byte.", ["endpoint"], buckets=_SECONDS
)
FIRST_BYTE = Histogram(
    "sentinel_upstream_first_byte_seconds", "From dispatch to the provider's headers.", ["endpoint"], buckets=_SECONDS
)
ACTIVE = Gauge("sentinel_active_connections", "Requests being answered.", multiprocess_mode="livesum")
TOKENS = Counter("sentinel_tokens_processed_total", "Tokens of settled calls.", ["type", "model"])
CACHE = Counter("sentinel_cache_operations_total", "Look-ups of tokens and limits.", ["operation", "result"])
ESTIMATION_DIFF = Histogram(
    "sentinel_token_estimation_diff", "Reported minus counted input tokens.", ["model"], buckets=_TOKENS
)
ESTIMATION_DIFF_PCT = Histogram(
    "sentinel_token_estimation_diff_pct", "The same in percent of the counted.", ["model"], buckets=_PERCENT
)
ESTIMATION_FALLBACK = Counter(
    "sentinel_token_estimation_fallback_total", "Calls whose figures are not the provider's.", ["source"]
)
SSE_ERRORS = Counter("sentinel_sse_parse_errors_total", "Events of a stream that could not be read.", ["endpoint"])
DECISIONS = Counter("sentinel_admission_decisions_total", "Admissions and refusals.", ["decision"])
WAITS = Counter("sentinel_quota_waits_total", "Calls that waited for holds of others.")
OVERRUN = Counter("sentinel_quota_overrun_tokens_total", "Tokens served beyond what was held.", ["type"])
REDIS_ERRORS = Counter("sentinel_redis_errors_total", "Answers that Redis did not give.", ["reason"])
ZION_CALLS = Counter("sentinel_zion_calls_total", "Calls to Zion.", ["operation", "outcome"])
UPSTREAM_ERRORS = Counter("sentinel_upstream_errors_total", "Failures of the provider.", ["reason"])
SETTLED = Counter("sentinel_settled_calls_total", "Settled calls by how their figures are known.", ["source"])
JOURNALLED = Counter("sentinel_journalled_settles_total", "Settles that Redis could not confirm at once.")
REAPED = Counter("sentinel_reaped_calls_total", "Holds settled for a worker that died.")
LATE_CORRECTIONS = Counter("sentinel_late_corrections_total", "Settles that came after the reaper's.")

USAGE_BACKLOG = Gauge(
    "sentinel_usage_backlog", "Events and batches not yet confirmed by Zion.", multiprocess_mode="mostrecent"
)
USAGE_OLDEST = Gauge(
    "sentinel_usage_oldest_age_seconds", "Age of the oldest unconfirmed event.", multiprocess_mode="mostrecent"
)
USAGE_SUCCESS = Counter("sentinel_usage_success_total", "Usage items confirmed by Zion.")
USAGE_FAILED = Counter("sentinel_usage_failed_total", "Attempts that did not confirm.", ["outcome"])
USAGE_DEAD = Counter("sentinel_usage_dead_total", "Items set aside as dead letters.")
USAGE_AMBIGUOUS = Counter("sentinel_usage_ambiguous_total", "Attempts with an unknown outcome.")
USAGE_SET_ASIDE = Gauge(
    "sentinel_usage_set_aside", "Batches that wait for an operator now.", ["kind"], multiprocess_mode="mostrecent"
)
USAGE_LAST_SUCCESS = Gauge(
    "sentinel_usage_last_success_timestamp_seconds", "When Zion last confirmed usage.", multiprocess_mode="max"
)
CIRCUIT_STATE = Gauge("sentinel_usage_circuit_state", "0 closed, 1 half-open, 2 open.", multiprocess_mode="mostrecent")

_MODEL_FAMILIES = (
    "gpt-5", "gpt-4.1", "gpt-4o-mini", "gpt-4o", "gpt-4-turbo", "gpt-4", "gpt-3.5", "o1", "o3", "o4",
    "text-embedding", "dall-e", "whisper", "tts", "claude", "gemini", "llama", "mistral", "qwen", "deepseek",
)  # fmt: skip


@lru_cache(maxsize=1024)
def model_label(model: str) -> str:
    """The family of a model, or `other`: clients choose model names, so names cannot be labels."""
    return next((family for family in _MODEL_FAMILIES if model.startswith(family)), "other")


@lru_cache(maxsize=4096)
def of(metric: Any, *labels: str) -> Any:
    """The series of a metric with these labels, looked up once: for what every call touches."""
    return metric.labels(*labels)


_waiting: dict[Any, float] = {}


def add(series: Any, amount: float) -> None:
    """Count on the path that every call takes: a dictionary now, the shared series at the next `flush`."""
    _waiting[series] = _waiting.get(series, 0.0) + amount


def flush() -> None:
    """Bring what was added into the series. Each process does it twice a second, and before it answers for itself."""
    counted = _waiting.copy()
    _waiting.clear()
    for series, amount in counted.items():
        series.inc(amount)
