"""`python -m sentinel.launch <command>`: the two stacks, and each of their processes alone (as the image does)."""

import os
import sys
from collections.abc import Callable
from importlib import import_module

from sentinel import config as configuration
from sentinel.config import Config
from sentinel.exceptions import ConfigError
from sentinel.launch import metrics
from sentinel.launch.errors import LaunchError
from sentinel.launch.probes import alive_file, http_ok, is_alive

USAGE = """usage: python -m sentinel.launch COMMAND
  run       everything on this machine, with simulators of Zion and the provider
  serve     everything on this machine, from the environment
  gateway   only the gateway
  worker    only a Celery worker
  beat      only the scheduler (exactly one per installation)
  migrate   bring the database up to date
  alive gateway|worker|beat   exit code 0 while that process of this host works
"""


def _process(module: str, function: str) -> Callable[[], int]:
    """A command that is one process of the product: its settings are complete, its metrics have a clean folder."""

    def command() -> int:
        config = configuration.load()
        if problems := configuration.missing(config):
            raise ConfigError(problems)
        _prepare_metrics(config)
        return int(getattr(import_module(module), function)(config))

    return command


def _prepare_metrics(config: Config) -> None:
    """Set and clean the shared folder, unless our launcher did; before anything imports prometheus_client."""
    folder = configuration.data_dir(config).resolve()
    os.environ.setdefault(metrics.VARIABLE, str(folder / "metrics"))
    if "SENTINEL_LAUNCHED" not in os.environ:
        metrics.sweep(folder / os.environ[metrics.VARIABLE])


def _stack(name: str) -> Callable[[], int]:
    return lambda: int(getattr(import_module("sentinel.launch.commands"), name)())


def _migrate() -> int:
    configuration.load()
    os.environ.pop(metrics.VARIABLE, None)  # a job leaves no metrics
    return int(import_module("sentinel.launch.database").migrate())


def _alive() -> int:
    name, config = sys.argv[2] if len(sys.argv) > 2 else "", configuration.load()
    if name == "gateway":
        return 0 if http_ok(config.sentinel_port, "/health/live") else 1
    return 0 if is_alive(alive_file(config.sentinel_data_dir, name)) else 1


# Modules are imported when their command is chosen: a worker does not load uvicorn, nor the gateway Celery.
COMMANDS: dict[str, Callable[[], int]] = {
    "run": _stack("run"),
    "serve": _stack("serve"),
    "gateway": _process("sentinel.launch.gateway", "run"),
    "worker": _process("sentinel.launch.background", "run_worker"),
    "beat": _process("sentinel.launch.background", "run_beat"),
    "migrate": _migrate,
    "alive": _alive,
}


def main() -> int:
    """Run one command; what is wrong with settings or machine is a sentence, not a traceback."""
    command = COMMANDS.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if command is None:
        sys.stderr.write(USAGE)
        return 2
    try:
        return command()
    except (ConfigError, LaunchError) as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
