"""The two stacks from start to stop.

1. Settings, the data folder and the port are checked first: what is wrong is said at once, in one sentence each.
2. Redis, simulators and migrations side by side; then worker, beat and gateway.
3. The run file is written, and rewritten whenever a process was replaced; then watch, and stop in order.
"""

import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from sentinel import config as configuration
from sentinel.config import Config
from sentinel.exceptions import ConfigError
from sentinel.launch import metrics, runfile, stack
from sentinel.launch.probes import check_port
from sentinel.launch.redis import EmbeddedRedis
from sentinel.launch.stack import Plan
from sentinel.launch.supervisor import Service, Signals, Supervisor
from sentinel.launch.welcome import welcome

ADMIN = "admin"


def say(text: str) -> None:
    """Print for the person at the terminal, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run() -> int:
    """Everything on this machine, with the simulators. Returns the exit code."""
    config = configuration.load()
    settings = stack.sandbox_settings(config)
    if "REDIS_URL" in os.environ:
        settings["REDIS_URL"] = os.environ["REDIS_URL"]
    chosen = config.model_copy(update={"sentinel_host": settings["SENTINEL_HOST"]})
    return _start(Plan(config=chosen, settings=settings, sandbox=True))


def serve() -> int:
    """The same processes from the environment, without simulators. Returns the exit code."""
    config = configuration.load()
    if problems := configuration.missing(config):
        raise ConfigError(problems)
    settings = {"REDIS_URL": config.redis_url} if "redis_url" in config.model_fields_set else {}
    return _start(Plan(config=config, settings=settings, sandbox=False))


def _start(plan: Plan) -> int:
    configuration.data_dir(plan.config)
    with runfile.hold(plan.data_dir) as file:
        runfile.claim(plan.data_dir, "sandbox" if plan.sandbox else "service")
        check_port(plan.config.sentinel_host, plan.config.sentinel_port)
        metrics.empty(plan.data_dir / "metrics")
        _empty_logs(plan)
        signals = Signals()
        supervisor = Supervisor(signals, say)
        try:
            if running := _up(plan, supervisor):
                file.write(_facts(running, supervisor))
                _greet(running)
                supervisor.watch(lambda: file.write(_facts(running, supervisor)))
            say("\nStopping. Once more: at once.")
        finally:
            supervisor.down()
            signals.close()
    return 0


def _up(plan: Plan, supervisor: Supervisor) -> Plan | None:
    """Start all. The plan as it runs, with its Redis; None when asked to stop meanwhile."""
    say(f"Starting Sentinel {'with simulators' if plan.sandbox else 'from the environment'}, data in {plan.data_dir}")
    first: list[Service] = []
    if "REDIS_URL" not in plan.settings:
        redis = EmbeddedRedis(plan.data_dir)
        plan = with_settings(plan, {"REDIS_URL": redis.url})
        first.append(redis)
    if plan.sandbox:
        first.extend(stack.simulators(plan))
    begin, job = time.monotonic(), stack.migration(plan, _admin(plan.data_dir) if plan.sandbox else {})
    job.start()
    try:
        is_up = supervisor.up(first) and supervisor.finish(job, begin) and supervisor.up([*stack.product(plan)])
    finally:
        job.kill()
    return plan if is_up else None


def _greet(plan: Plan) -> None:
    if not plan.sandbox:
        say(f"Sentinel is ready at {plan.url}")
        return
    password = _admin(plan.data_dir)["DJANGO_SUPERUSER_PASSWORD"]
    zion, logs = plan.settings["ZION_API_URL"], str(plan.data_dir / "log")
    say(welcome(url=plan.url, zion=zion, admin=ADMIN, password=password, logs=logs))


def with_settings(plan: Plan, more: Mapping[str, str]) -> Plan:
    """The plan with further settings for its children."""
    return Plan(config=plan.config, settings={**plan.settings, **more}, sandbox=plan.sandbox)


def _facts(plan: Plan, supervisor: Supervisor) -> dict[str, object]:
    """Content of the run file. `settings` is what commands in other shells take over."""
    known = {name.lower(): value for name, value in plan.settings.items() if name.lower() in Config.model_fields}
    return {"pid": os.getpid(), "url": plan.url, "pids": supervisor.pids, "settings": known}


def _admin(data_dir: Path) -> dict[str, str]:
    """Name and password of the sandbox's admin: made once, kept in the data folder (mode 0600)."""
    path = data_dir / "admin_password"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(9))
    password = path.read_text(encoding="utf-8")
    return {"DJANGO_SUPERUSER_USERNAME": ADMIN, "DJANGO_SUPERUSER_PASSWORD": password}


def _empty_logs(plan: Plan) -> None:
    folder = plan.data_dir / "log"
    folder.mkdir(mode=0o700, exist_ok=True)
    for file in folder.glob("*.log"):
        file.write_bytes(b"")
