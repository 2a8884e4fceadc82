"""`manage.py doctor`: try everything that Sentinel depends on, with the real settings, and say what to do.

Harmless: it reads, and asks Zion for the limits of a user that cannot exist. Each check has a deadline.
"""

import json
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import redis
import requests
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.connection import Connection
from kombu.exceptions import KombuError

from sentinel import checks, config
from sentinel.config import Config

OK, WARN, FAIL = "OK", "WARN", "FAIL"
DEADLINE_SECONDS = 10.0
CONNECT_SECONDS = 5.0
NOBODY = "sentinel-doctor-nobody"  # an external id that no user has: 404 proves that key and address are right
MEBIBYTE = 1024 * 1024
LEAST_FREE_BYTES = 100 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw, and what to do about it when it is not OK."""

    name: str
    level: str
    message: str
    advice: str = ""


def check_settings(settings: Config) -> Finding:
    """Required settings, and those that must fit each other."""
    if problems := config.missing(settings):
        return Finding("settings", FAIL, "; ".join(problems), "Set them in the environment or in .env.")
    return Finding("settings", OK, "complete")


def check_zion(settings: Config) -> Finding:
    """Address, reachability and key."""
    if not settings.zion_api_url or settings.zion_api_key in config.UNSET:
        return Finding("zion", FAIL, "not tried: its address or key is missing", "Set ZION_API_URL and ZION_API_KEY.")
    reply = _get(
        f"{settings.zion_api_url}/api/v1/limits/external/{NOBODY}",
        headers={"x-api-key": settings.zion_api_key.get_secret_value()},
        proxy=settings.zion_proxy,
        settings=settings,
    )
    if reply.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
        return Finding("zion", FAIL, f"refused our key ({reply.status_code})", "Check ZION_API_KEY.")
    if reply.status_code in {requests.codes.not_found, requests.codes.ok} and _is_json(reply):
        return Finding("zion", OK, "reachable, takes our key")
    return Finding("zion", FAIL, f"answered {reply.status_code} unlike Zion", "Check ZION_API_URL and Zion's health.")


def check_provider(settings: Config) -> Finding:
    """Address, reachability and key."""
    if settings.openai_api_key in config.UNSET:
        return Finding("provider", FAIL, "not tried: the key is missing", "Set OPENAI_API_KEY.")
    headers = {
        "Authorization": f"Bearer {settings.openai_api_key.get_secret_value()}",
        "OpenAI-Organization": settings.openai_organization,
        "OpenAI-Project": settings.openai_project,
    }
    given = {name: value for name, value in headers.items() if value}
    reply = _get(f"{settings.openai_api_url}/models", headers=given, proxy=settings.upstream_proxy, settings=settings)
    if reply.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
        return Finding("provider", FAIL, f"refused our key ({reply.status_code})", "Check OPENAI_API_KEY.")
    if reply.status_code == requests.codes.ok and _is_json(reply):
        return Finding("provider", OK, "reachable, takes our key")
    advice = "Check OPENAI_API_URL (with its /v1) and the provider's health."
    return Finding("provider", FAIL, f"answered {reply.status_code} to GET /models", advice)


def check_redis(settings: Config) -> Finding:
    """Reachable, and safe for a ledger."""
    with checks.connection() as client:
        info = client.info()
    version = f"{info.get('server_name', 'redis')} {info.get('valkey_version') or info.get('redis_version')}"
    problems = checks.ledger_problems(info, may_be_volatile=settings.redis_allow_volatile)
    if problems:
        messages, hints = (" ".join(str(text) for text in texts) for texts in zip(*_texts(problems), strict=True))
        return Finding("redis", FAIL, f"{version}: {messages}", hints)
    if not info.get("aof_enabled"):
        return Finding("redis", WARN, f"{version}: does not persist", "Right for a demonstration only.")
    return Finding("redis", OK, f"{version}, persists, never evicts")


def check_database(_: Config) -> Finding:
    """Reachable, and migrated."""
    try:
        executor = MigrationExecutor(connection)
        waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        connection.close()
    if waiting:
        return Finding("database", FAIL, f"{waiting} migrations are not applied", "Run manage.py migrate.")
    return Finding("database", OK, f"{connection.vendor}, up to date")


def check_broker(settings: Config) -> Finding:
    """Celery's broker takes a connection."""
    with Connection(settings.celery_broker_url, connect_timeout=CONNECT_SECONDS) as broker:  # type: ignore[no-untyped-call]  # kombu has no types
        broker.ensure_connection(max_retries=1, interval_start=0)
    return Finding("broker", OK, "takes connections")


def check_data_dir(settings: Config) -> Finding:
    """The journal can be written and synced, and there is room for it."""
    settings.sentinel_data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=settings.sentinel_data_dir) as file:
        file.write(b"doctor")
        file.flush()
        os.fsync(file.fileno())
    usage = os.statvfs(settings.sentinel_data_dir)
    free = usage.f_bavail * usage.f_frsize
    if free < LEAST_FREE_BYTES:
        return Finding(
            "data folder", WARN, f"only {free // MEBIBYTE} MiB free", "Make room: usage is kept here in need."
        )
    return Finding("data folder", OK, f"{settings.sentinel_data_dir} is writable")


CHECKS: Mapping[str, tuple[Callable[[Config], Finding], str]] = {
    "settings": (check_settings, ""),
    "zion": (check_zion, "Check ZION_API_URL, ZION_PROXY, CA_BUNDLE and the network."),
    "provider": (check_provider, "Check OPENAI_API_URL, UPSTREAM_PROXY, CA_BUNDLE and the network."),
    "redis": (check_redis, "Check REDIS_URL, or start the stack: make run, make serve."),
    "database": (check_database, "Check DATABASE_URL."),
    "broker": (check_broker, "Check BROKER_URL (default: REDIS_URL)."),
    "data folder": (check_data_dir, "Give this user write access to SENTINEL_DATA_DIR."),
}
# What these checks raise when the other side is not there; anything else is a bug and shows itself.
EXPECTED = (requests.RequestException, redis.RedisError, DatabaseError, KombuError, OSError)


def examine(settings: Config) -> list[Finding]:
    """All findings, in the order of `CHECKS`; every check has its own deadline."""
    pool = ThreadPoolExecutor(max_workers=len(CHECKS))
    tries = {name: pool.submit(_try, name, settings) for name in CHECKS}
    findings = []
    for name, attempt in tries.items():
        try:
            findings.append(attempt.result(DEADLINE_SECONDS))
        except TimeoutError:
            findings.append(Finding(name, FAIL, f"no answer within {DEADLINE_SECONDS:.0f} s", CHECKS[name][1]))
    pool.shutdown(wait=False, cancel_futures=True)
    return findings


def _try(name: str, settings: Config) -> Finding:
    check, advice = CHECKS[name]
    try:
        return check(settings)
    except EXPECTED as error:
        # The class says enough; a message may carry a URL with its password.
        return Finding(name, FAIL, f"not reachable ({type(error).__name__})", advice)


def _get(url: str, *, headers: Mapping[str, str], proxy: str, settings: Config) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # only our own proxy settings count, as for the product
        session.proxies = {"http": proxy, "https": proxy} if proxy else {}
        session.verify = settings.ca_bundle or True
        deadlines = (CONNECT_SECONDS, CONNECT_SECONDS)
        return session.get(url, headers=dict(headers), timeout=deadlines, allow_redirects=False)


def _is_json(reply: requests.Response) -> bool:
    try:
        return isinstance(reply.json(), dict)
    except requests.JSONDecodeError:
        return False


def _texts(problems: list[Any]) -> list[tuple[str, str]]:
    return [(problem.msg, problem.hint) for problem in problems]


class Command(BaseCommand):
    """The door: run the checks, print, set the exit code."""

    help = (
        "Try Zion, provider, Redis, database, broker and data folder with the real settings. "
        "Exit status: 0 when all is well, 1 when a check failed."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012  # Django's declaration; the doctor must always run

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One option: output for programs."""
        parser.add_argument("--json", action="store_true", help="print a JSON array instead of lines")

    def handle(self, *_: object, **options: Any) -> None:
        """Print one line per check. Raises CommandError (exit code 1) when one failed."""
        findings = examine(config.get())
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            for finding in findings:
                self.stdout.write(f"{finding.level:<5} {finding.name:<12} {finding.message}")
                if finding.advice:
                    self.stdout.write(f"{'':18} {finding.advice}")
        if failed := [finding.name for finding in findings if finding.level == FAIL]:
            raise CommandError(f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}", returncode=1)
