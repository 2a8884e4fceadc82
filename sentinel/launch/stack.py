"""What the two stacks are made of: `run`, the sandbox with simulators, and `serve`, from the environment."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sentinel.config import Config
from sentinel.launch.probes import alive_file, free_port, http_ok, is_alive
from sentinel.launch.process import Child, Spec

ZION_PORT, PROVIDER_PORT = 8081, 8082  # preferred; any free port where these are taken
ZION_KEY, PROVIDER_KEY = "sandbox-zion-key", "sandbox-provider-key"
STOP_MARGIN_SECONDS = 10.0
# What a .env of production may set and the sandbox must not use: it talks to the simulators and its own ledger only.
NEVER_IN_SANDBOX = ("CACHE_REDIS_URL", "BROKER_URL", "DATABASE_URL", "ZION_PROXY", "UPSTREAM_PROXY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One stack: the settings that the launcher adds for its children, and where they write."""

    config: Config
    settings: Mapping[str, str]
    sandbox: bool

    @property
    def data_dir(self) -> Path:
        """The data folder, absolute."""
        return self.config.sentinel_data_dir.resolve()

    @property
    def host(self) -> str:
        """An address under which this machine reaches the gateway."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.config.sentinel_host, self.config.sentinel_host)  # noqa: S104

    @property
    def url(self) -> str:
        """Base URL of the gateway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.config.sentinel_port}"

    def environment(self) -> dict[str, str]:
        """Complete environment of a child."""
        fixed = {
            "SENTINEL_DATA_DIR": str(self.data_dir),
            "PROMETHEUS_MULTIPROC_DIR": str(self.data_dir / "metrics"),
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **self.settings, **fixed}

    def log(self, name: str) -> Path | None:
        """The sandbox keeps the terminal quiet; a service logs where it was started."""
        return self.data_dir / "log" / f"{name}.log" if self.sandbox else None


def sandbox_settings(config: Config) -> dict[str, str]:
    """Settings of the sandbox: simulators instead of Zion and the provider, nothing of a production `.env`."""
    zion, provider = free_port(ZION_PORT), free_port(PROVIDER_PORT)
    return {
        "ZION_API_URL": f"http://127.0.0.1:{zion}",
        "ZION_API_KEY": ZION_KEY,
        "OPENAI_API_URL": f"http://127.0.0.1:{provider}/v1",
        "OPENAI_API_KEY": PROVIDER_KEY,
        "ZION_HONOURS_KEYS": "true",
        "SANDBOX_ZION_KEY": ZION_KEY,
        "SANDBOX_PROVIDER_KEY": PROVIDER_KEY,
        "SENTINEL_HOST": config.sentinel_host if "sentinel_host" in config.model_fields_set else "127.0.0.1",
        **{name: os.environ.get(name, "") for name in NEVER_IN_SANDBOX},
    }


def port_of(url: str) -> int:
    """The port in one of our own simulator URLs."""
    return int(url.removeprefix("http://").split("/")[0].rsplit(":", 1)[1])


def simulators(plan: Plan) -> list[Child]:
    """Zion and the provider, simulated."""
    ports = {"zion": port_of(plan.settings["ZION_API_URL"]), "provider": port_of(plan.settings["OPENAI_API_URL"])}
    return [_simulator(plan, name, port) for name, port in ports.items()]


def _simulator(plan: Plan, name: str, port: int) -> Child:
    options = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", "--no-access-log")
    argv = (sys.executable, "-m", "uvicorn", f"sentinel.sandbox.{name}:app", *options)
    ready = partial(http_ok, port, "/healthz")
    return Child(Spec(name=name, argv=argv, env=plan.environment(), ready=ready, log=plan.log(name), stop_seconds=5.0))


def migration(plan: Plan, admin: Mapping[str, str]) -> Child:
    """The job that brings the database up to date, and creates the sandbox's admin."""
    environment = {**plan.environment(), **admin}
    return Child(
        Spec(name="migrate", argv=_ours("migrate"), env=environment, log=plan.log("migrate"), ready_seconds=600.0)
    )


def product(plan: Plan) -> list[Child]:
    """Worker, beat and gateway; stopped in the other direction, so that the gateway drains first."""
    grace = plan.config.shutdown_grace_seconds
    # The sandbox' dependencies are its own, so it waits for them; a service also starts while Zion is down.
    health = "/health/ready" if plan.sandbox else "/health/live"
    gateway_ready = partial(http_ok, plan.config.sentinel_port, health, plan.host)
    return [
        _celery(plan, "worker", plan.config.zion_batch_timeout_seconds + STOP_MARGIN_SECONDS),
        _celery(plan, "beat", STOP_MARGIN_SECONDS),
        _service(plan, "gateway", gateway_ready, grace + STOP_MARGIN_SECONDS, signal.SIGTERM),
    ]


def _celery(plan: Plan, name: str, stop_seconds: float) -> Child:
    alive = alive_file(plan.data_dir, name)
    alive.unlink(missing_ok=True)  # of a run that was killed a moment ago
    # SIGKILL when orphaned: a warm shutdown would wait for a broker that ends at the same moment. Delivery survives it.
    return _service(plan, name, partial(is_alive, alive), stop_seconds, signal.SIGKILL)


def _service(
    plan: Plan, name: str, ready: Callable[[], bool], stop_seconds: float, orphan_signal: signal.Signals
) -> Child:
    return Child(
        Spec(
            name=name,
            argv=_ours(name),
            env={**plan.environment(), "SENTINEL_LAUNCHED": "1"},
            ready=ready,
            ready_seconds=60.0,
            stop_seconds=stop_seconds,
            orphan_signal=orphan_signal,
            log=plan.log(name),
        )
    )


def _ours(command: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "sentinel.launch", command)
