"""Reads the settings of a process once and validates them as a whole. The settings themselves are in options.py.

A value comes from the environment, else from the file that `NAME_FILE` names, else from the stack that runs in this
data folder (see sources.py), else from `.env`, else it is the default.
"""

import os
from functools import lru_cache
from pathlib import Path

from pydantic import SecretStr, ValidationError

from sentinel.exceptions import ConfigError
from sentinel.options import BASE_DIR, Config

__all__ = ["BASE_DIR", "REQUIRED", "Config", "data_dir", "get", "load", "missing"]

REQUIRED = ("zion_api_url", "zion_api_key", "openai_api_key")
UNSET = ("", SecretStr(""))


def load(env_file: Path | None = BASE_DIR / ".env") -> Config:
    """Read and validate all settings. Raises ConfigError that names every problem, secrets unshown."""
    try:
        return Config(_env_file=env_file)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = {str(problem["loc"][0]): problem["msg"] for problem in error.errors()}
        found = [f"{name.upper()}: {text.removeprefix('Value error, ')}" for name, text in problems.items()]
        raise ConfigError(found + _missing_beside(set(problems), env_file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"A secret file cannot be read: {getattr(error, 'filename', 'not UTF-8')}"]) from None


def _missing_beside(malformed: set[str], env_file: Path | None) -> list[str]:
    """What is missing besides the malformed values, which count as set: one message names all there is to mend."""
    defaults = {name: Config.model_fields[name].default for name in malformed}
    also = missing(Config(_env_file=env_file, **defaults))  # type: ignore[call-arg]
    return [problem for problem in also if problem.split(":")[0].lower() not in malformed]


def missing(config: Config) -> list[str]:
    """Problems that keep a gateway or a worker from starting though each value is well-formed."""
    problems = [f"{name.upper()}: is required and not set" for name in REQUIRED if getattr(config, name) in UNSET]
    if config.stream_drain_seconds > config.lease_seconds:
        problems.append("STREAM_DRAIN_SECONDS: must not exceed LEASE_SECONDS")
    if config.settled_memory_seconds <= config.journal_keep_seconds:
        problems.append("SETTLED_MEMORY_SECONDS: must exceed JOURNAL_KEEP_SECONDS, or a replay could count twice")
    if config.zion_quiet_seconds <= config.zion_batch_timeout_seconds:
        problems.append("ZION_QUIET_SECONDS: must exceed ZION_BATCH_TIMEOUT_SECONDS, or a report could still run")
    return problems


def data_dir(config: Config) -> Path:
    """The data folder, made if it is missing. Raises ConfigError when it cannot be made or written."""
    path = config.sentinel_data_dir
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"SENTINEL_DATA_DIR: {path} cannot be made: {error.strerror}"]) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError([f"SENTINEL_DATA_DIR: {path} cannot be written"])
    return path


@lru_cache(maxsize=1)
def get() -> Config:
    """The settings of this process, read once."""
    return load()
