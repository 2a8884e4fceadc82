"""Every setting as a field of Config: its variable, default, range and one line of meaning.

Secrets are masked wherever they are printed. `sentinel.config` reads and validates them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sentinel.kinds import Bytes, Count, DatabaseUrl, HttpUrl, OneLine, Origins, RedisUrl, Seconds, Secret, Templates
from sentinel.sources import RunFile, SecretFiles

BASE_DIR = Path(__file__).resolve().parent.parent


def _setting(default: object, meaning: str) -> Any:
    return Field(default=default, description=meaning)


class Config(BaseSettings):
    """All settings of one process. Frozen: nothing changes after start."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_file_encoding="utf-8", case_sensitive=False, hide_input_in_errors=True
    )

    # Zion
    zion_api_url: HttpUrl = _setting("", "Zion's base URL. Required.")
    zion_api_key: Secret = _setting(SecretStr(""), "Our key at Zion. Required. Secret.")
    zion_connect_timeout_seconds: Seconds = _setting(1.0, "Longest wait for a connection to Zion.")
    zion_timeout_seconds: Seconds = _setting(2.0, "Longest wait for Zion on the request path.")
    zion_batch_timeout_seconds: Seconds = _setting(10.0, "Longest wait for Zion when a batch is reported.")
    zion_usage_identity: Literal["email", "externalId"] = _setting("email", "Which identity usage items carry.")
    zion_usage_shape: Literal["unified", "per_limit"] = _setting("unified", "Shape of usage items.")
    zion_honours_keys: bool = _setting(
        False, "Zion applies an Idempotency-Key once. Off: Zion's figures decide on a batch of unknown outcome, or you."
    )
    zion_quiet_seconds: Seconds = _setting(
        60.0, "After this, Zion no longer works on a report of unknown outcome; its figures are then read back."
    )
    zion_requests_per_second: Count = _setting(20, "Most usage reports to Zion in any second, over all workers.")
    zion_proxy: HttpUrl = _setting("", "HTTP proxy towards Zion.")

    # The provider
    openai_api_url: HttpUrl = _setting("https://api.openai.com/v1", "The provider's base URL, with its /v1.")
    openai_api_key: Secret = _setting(SecretStr(""), "Our key at the provider. Required. Secret.")
    openai_organization: OneLine = _setting("", "Organisation header that we send to the provider.")
    openai_project: OneLine = _setting("", "Project header that we send to the provider.")
    upstream_connect_timeout_seconds: Seconds = _setting(5.0, "Longest wait for a connection to the provider.")
    upstream_first_byte_seconds: Seconds = _setting(120.0, "Longest wait for the first byte of a stream.")
    upstream_idle_seconds: Seconds = _setting(60.0, "Longest silence between bytes of a stream.")
    upstream_total_seconds: Seconds = _setting(300.0, "Longest plain call in all.")
    upstream_keepalive_seconds: Seconds = _setting(
        15.0, "Idle connections are closed after this, before the provider does."
    )
    upstream_idle_connections: Count = _setting(100, "Idle connections kept per host and process.")
    upstream_max_connections: Count = _setting(4096, "Most connections to the provider per process.")
    upstream_max_reply_bytes: Bytes = _setting(
        32 * 1024 * 1024, "Largest plain answer that is taken from the provider."
    )
    upstream_cap_field: Literal["max_completion_tokens", "max_tokens"] = _setting(
        "max_completion_tokens", "Field that carries the granted output cap of a chat completion."
    )
    upstream_proxy: HttpUrl = _setting("", "HTTP proxy towards the provider.")
    ca_bundle: str = _setting("", "PEM file of authorities to trust besides the system's.")
    passthrough_allow: Templates = _setting(
        "", "Comma-separated `METHOD /v1/template` to open besides; `*` stands for one segment, `**` for the rest."
    )
    models_allow: str = _setting("", "Comma-separated models that may be used; empty allows all.")

    # Redis
    redis_url: RedisUrl = _setting("redis://localhost:6379", "The ledger: quotas, holds, usage. Must not evict.")
    cache_redis_url: RedisUrl = _setting("", "The cache of tokens and limits; default REDIS_URL.")
    broker_url: RedisUrl = _setting("", "Celery's broker; default REDIS_URL.")
    redis_key_prefix: str = _setting("", "Put before every key; for tests and shared servers.")
    redis_timeout_seconds: Seconds = _setting(0.25, "Longest wait for one answer of Redis on the request path.")
    redis_allow_volatile: bool = _setting(False, "Accept a Redis without persistence (demonstrations only).")
    usage_shards: Annotated[int, Field(ge=1, le=1024)] = _setting(1, "Shards of the ledger; fixed at installation.")

    # Caches
    cache_ttl_seconds: Annotated[int, Field(ge=1, le=86_400)] = _setting(300, "How long limits are fresh.")
    jwt_cache_ttl_seconds: Annotated[int, Field(ge=1, le=86_400)] = _setting(
        300, "How long a validated token is believed."
    )
    limits_stale_seconds: Annotated[int, Field(ge=0, le=86_400)] = _setting(
        900, "How long old limits serve while Zion fails."
    )
    rejected_token_seconds: Annotated[int, Field(ge=1, le=3600)] = _setting(
        10, "How long a rejected token is remembered."
    )
    failed_logins_per_minute: Count = _setting(60, "Failed validations allowed per client address, minute and process.")
    trusted_proxies: str = _setting("", "Comma-separated addresses whose X-Forwarded-For counts.")

    # Admission
    rate_limit_requests: Count = _setting(100, "Requests of one user allowed per window.")
    rate_limit_window_seconds: Annotated[int, Field(ge=1, le=86_400)] = _setting(60, "Length of the sliding window.")
    rate_limit_burst: Annotated[int, Field(ge=0)] = _setting(0, "Calls of one user allowed in any second; 0 no bound.")
    rate_limit_tokens: Annotated[int, Field(ge=0)] = _setting(0, "Tokens of one user per window; 0 no bound.")
    max_concurrent_calls_per_user: Count = _setting(1000, "Calls of one user in flight.")
    max_concurrent_calls: Count = _setting(10_000, "Calls in flight per process.")
    quota_mode: Literal["hard", "soft", "observe"] = _setting(
        "hard", "hard refuses, soft records overshoot, observe refuses nothing."
    )
    quota_min_output_tokens: Count = _setting(16, "Least output worth admitting when a cap is lowered.")
    quota_share: Count = _setting(16, "A call without a cap holds at most one part in this many of what is free.")
    quota_floor_output_tokens: Count = _setting(
        1024, "Least output granted to a call without a cap, when that much is free."
    )
    quota_generous_output_tokens: Count = _setting(16_384, "Most output granted to a call without a cap.")
    quota_input_margin_tokens: Annotated[int, Field(ge=0, le=100_000)] = _setting(
        16, "Added to the counted input when it is held."
    )
    quota_wait_seconds: Annotated[float, Field(ge=0, le=300)] = _setting(10.0, "Longest wait for holds of other calls.")
    limits_when_empty: Literal["refuse", "allow"] = _setting("refuse", "What an empty list of limits means.")
    lease_seconds: Seconds = _setting(90.0, "A hold whose worker is silent for this long is settled by the reaper.")
    settled_memory_seconds: Annotated[int, Field(ge=60, le=86_400)] = _setting(
        3600, "How long a settled call is remembered."
    )
    stream_on_disconnect: Literal["abort", "drain"] = _setting(
        "abort", "What happens upstream when a streaming client leaves."
    )
    sse_keepalive_seconds: Annotated[float, Field(ge=0, le=3600)] = _setting(
        0.0, "A stream that says nothing for this long gets a comment; 0 sends none."
    )
    stream_drain_seconds: Seconds = _setting(30.0, "Longest drain of a stream nobody reads.")

    # Reporting
    usage_reporting: Literal["batched", "inline"] = _setting(
        "batched", "inline reports plain calls before the answer ends."
    )
    inline_budget_seconds: Seconds = _setting(2.0, "Longest an answer waits for its inline report.")
    flush_interval_seconds: Seconds = _setting(0.5, "Time between two ticks of delivery.")
    flush_events: Count = _setting(100, "Waiting events that trigger delivery at once.")
    batch_max_items: Annotated[int, Field(ge=1, le=1000)] = _setting(100, "Items of one batch.")
    retry_sweep_seconds: Seconds = _setting(60.0, "Time between two sweeps over failed batches.")
    breaker_failures: Count = _setting(3, "Consecutive failures that open the breaker.")
    breaker_open_seconds: Seconds = _setting(30.0, "How long the breaker stays open before one probe.")
    delivery_max_tries: Count = _setting(5, "Rejections after which an item becomes a dead letter.")
    usage_last_calls: Annotated[int, Field(ge=0, le=1000)] = _setting(
        20, "Last calls of each user that GET /v1/usage shows."
    )
    history_days: Count = _setting(90, "How long rows of delivered calls are kept.")

    # The server
    sentinel_host: str = _setting("0.0.0.0", "Address to listen on.")  # noqa: S104
    sentinel_port: Annotated[int, Field(ge=1, le=65_535)] = _setting(8080, "Port to listen on.")
    sentinel_workers: Annotated[int, Field(ge=0, le=512)] = _setting(0, "Gateway processes; 0 means one per core.")
    sentinel_data_dir: Path = _setting(BASE_DIR / "var", "Journal, run files, SQLite; one volume per node.")
    sentinel_allowed_hosts: str = _setting("localhost,127.0.0.1,[::1]", "Host names under which the admin answers.")
    cors_origins: Origins = _setting("", "Comma-separated origins whose pages may call; * allows every page.")
    sentinel_secret_key: Secret = _setting(
        SecretStr(""), "Signs admin sessions; made and kept in the data folder when empty. Secret."
    )
    admin_login_failures: Count = _setting(5, "Failed logins to the admin that lock an address out of an account.")
    admin_lockout_seconds: Annotated[int, Field(ge=1, le=86_400)] = _setting(
        900, "How long failed logins are remembered, and how long a lockout lasts."
    )
    sentinel_https: bool = _setting(False, "The admin is reached over HTTPS: secure cookies and HSTS.")
    sentinel_debug: bool = _setting(False, "Django's debug pages. Never in production.")
    metrics_token: Secret = _setting(SecretStr(""), "Bearer token for /metrics; empty leaves it open. Secret.")
    docs_api_key: Secret = _setting(SecretStr(""), "Key of /v1/docs and /v1/openapi.json; empty closes them. Secret.")
    database_url: DatabaseUrl = _setting("", "SQLite in the data folder when empty; postgres://... otherwise. Secret.")
    max_body_bytes: Bytes = _setting(8 * 1024 * 1024, "Largest request body.")
    max_upload_bytes: Bytes = _setting(
        128 * 1024 * 1024, "Largest request body of the endpoints that take files; it is passed on as it comes."
    )
    max_header_bytes: Bytes = _setting(32 * 1024, "Largest sum of request headers.")
    max_header_fields: Count = _setting(100, "Most request header fields.")
    header_timeout_seconds: Seconds = _setting(10.0, "Longest wait for complete request headers.")
    body_timeout_seconds: Seconds = _setting(30.0, "Longest wait for a complete request body.")
    upload_timeout_seconds: Seconds = _setting(300.0, "Longest wait for a complete multipart form.")
    send_timeout_seconds: Seconds = _setting(60.0, "A client that takes no byte for this long is gone.")
    shutdown_grace_seconds: Seconds = _setting(30.0, "How long running calls may finish after SIGTERM.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("INFO", "Least severe level that is logged.")
    journal_keep_seconds: Annotated[int, Field(ge=60, le=86_400)] = _setting(
        600, "How long the local journal keeps settles."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = (SecretFiles(settings_cls), RunFile(settings_cls, dotenv_settings))
        return init_settings, env_settings, *files, dotenv_settings

    @property
    def cache_url(self) -> str:
        """Redis for tokens and limits."""
        return self.cache_redis_url or self.redis_url

    @property
    def celery_broker_url(self) -> str:
        """Redis for Celery, in its own spelling of unix sockets."""
        url = self.broker_url or self.redis_url
        return url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
