"""What both clients share of a transport: the reply, its absence, trust in certificates, the line in the log."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import structlog

from sentinel.config import Config
from sentinel.exceptions import SentinelError
from sentinel.lib.clock import monotonic
from sentinel.lib.metrics import ZION_CALLS
from sentinel.zion.wire import Request

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply, within the cap."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class NoReply(SentinelError):
    """There is no reply to read. `sent` is whether a byte of the request may have left."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.reason = reason
        self.sent = sent
        super().__init__(reason)


def salvage(head: Reply | None, reason: str, *, sent: bool) -> Reply:
    """A status other than 2xx decides alone, so it counts even if its body failed. Raises NoReply for all else."""
    if head is None or 200 <= head.status < 300:
        raise NoReply(reason, sent=sent)
    return head


def is_plain(headers: Mapping[str, str]) -> bool:
    """Whether the body is unpacked as it is: packed ones are not asked for and not read."""
    return headers.get("content-encoding", "identity").lower() == "identity"


def tls(config: Config) -> ssl.SSLContext:
    """Trust in the authorities of certifi, of the system, and of CA_BUNDLE."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if config.ca_bundle:
        context.load_verify_locations(cafile=config.ca_bundle)
    return context


@contextmanager
def logged(request: Request) -> Iterator[dict[str, object]]:
    """Write one line about a call, whatever ends it; what the block puts into the yielded fields stands in it."""
    fields: dict[str, object] = {"path": request.template, "status": None, "outcome": "ok"}
    started = monotonic()
    try:
        yield fields
    except BaseException as error:
        fields["outcome"] = type(error).__name__
        raise
    finally:
        ZION_CALLS.labels(request.template, str(fields["outcome"])).inc()
        write = log.debug if fields["outcome"] == "ok" else log.info
        write("zion_call", duration_ms=round((monotonic() - started) * 1000, 1), **fields)
