"""One HTTP exchange with Zion for threads, on requests: a fresh connection, cut when its deadline passes.

requests bounds each wait but not their sum, so a reply that trickles in could hold a worker for ever. A watch thread
shuts the socket down at the deadline. Connections are not reused: one that the server just closed would make a report
ambiguous that was never read, and twenty connections a second cost little.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import ConnectionPool

from sentinel.lib.clock import monotonic
from sentinel.zion.reading import REPLY_CAP_BYTES
from sentinel.zion.transport import NoReply, Reply, is_plain, salvage
from sentinel.zion.wire import Request

_CHUNK_BYTES = 64 * 1024
_NOTHING_LEFT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,  # raised only until the proxy is connected
    ssl.SSLCertVerificationError,
)
_NEVER_TRIED = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
)


class CuttableAdapter(HTTPAdapter):
    """Trusts `context`, and knows the connections it opened, so that a deadline can cut them."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._connections: list[HTTPConnection] = []
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **options)
        open_connection: Any = pool.ConnectionCls  # type: ignore[attr-defined]

        def remember(**settings: Any) -> HTTPConnection:
            connection: HTTPConnection = open_connection(**settings)
            self._connections.append(connection)
            return connection

        pool.ConnectionCls = remember  # type: ignore[attr-defined]  # typed on the subclasses only, as a class
        return pool

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Cut everything that this adapter has open when `seconds` have passed inside the block."""
        done = Event()
        watch = Thread(target=self._watch, args=(done, seconds), daemon=True, name="zion-deadline")
        watch.start()
        try:
            yield
        finally:
            done.set()
            watch.join()

    def _watch(self, done: Event, seconds: float) -> None:
        done.wait(seconds)
        # Again and again: a slow name service can let the connection open only after the deadline.
        while not done.wait(0.02):
            for connection in tuple(self._connections):
                _shut_down(connection.sock)


def exchange(
    request: Request, base_url: str, *, seconds: float, connect_seconds: float, proxy: str, context: ssl.SSLContext
) -> Reply:
    """Send a request and read its whole reply within `seconds`. Raises NoReply."""
    ends = monotonic() + seconds
    adapter = CuttableAdapter(context)
    with requests.Session() as session, adapter.deadline(seconds):
        session.trust_env = False
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        head: Reply | None = None
        try:
            with session.request(
                request.method,
                base_url + request.path,
                headers={**request.headers, "connection": "close"},
                data=request.body or None,
                timeout=(min(connect_seconds, seconds), seconds),
                proxies={"http": proxy, "https": proxy} if proxy else None,
                allow_redirects=False,
                stream=True,
            ) as response:
                head = Reply(response.status_code, response.headers)
                body = _read(response)
            # A body without a length that was cut at the deadline looks complete.
            if monotonic() >= ends:
                return salvage(head, "timeout", sent=True)
            return Reply(head.status, head.headers, body)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            reason = "timeout" if monotonic() >= ends else _name(error)
            return salvage(head, reason, sent=may_have_left(error))
        except NoReply as failure:
            return salvage(head, failure.reason, sent=True)


def may_have_left(error: Exception) -> bool:
    """False only for what certainly happened before the first byte of the request was written."""
    return not isinstance(error, _NEVER_TRIED) and not any(isinstance(one, _NOTHING_LEFT) for one in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps: requests and urllib3 keep the first cause in `reason` or as an argument."""
    yield error
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            yield from _causes(inner)


def _name(error: Exception) -> str:
    innermost = list(_causes(error))[-1]
    return "timeout" if isinstance(error, requests.Timeout) else type(innermost).__name__


def _read(response: requests.Response) -> bytes:
    if not is_plain(response.headers):
        raise NoReply("reply is packed", sent=True)
    body = b""
    while chunk := response.raw.read(_CHUNK_BYTES, decode_content=False):
        body += chunk
        if len(body) > REPLY_CAP_BYTES:
            raise NoReply("reply is too large", sent=True)
    return body


def _shut_down(sock: socket.socket | None) -> None:
    if sock is None:
        return
    try:
        # Not the method of a TLS socket, which would take its state from under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # closed meanwhile: nothing left to cut
