"""A stream went on while Redis was away, and then its owner died: no less is recorded than its client received."""

from pathlib import Path
from typing import Any

import pytest
import redis

from limits import keys as ledger_keys
from sentinel.lib import redis as connections
from tests.limits.make import admit, configure, make_admission, make_ask, make_limits, store
from tests.servers import free_port
from usage import keys
from usage.journal import Journal
from usage.lease import ALLOWANCE_TOKENS
from usage.progress import Progress, is_progress, progress_in
from usage.reaper import adopt, reap
from usage.recorder import Recorder
from usage.values import UsageEvent


@pytest.fixture(autouse=True)
def quick(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=0, redis_timeout_seconds=5)


async def open_stream() -> Any:
    store(*make_limits(10**9, 10**9, 10**9))
    return await admit(make_admission(), make_ask(10, cap=5000), call_id="c1")


def recorded() -> list[int]:
    """Outputs in the stream."""
    found: list[Any] = connections.command("XRANGE", keys.stream(0), "-", "+")
    pairs = [f if isinstance(f, dict) else dict(zip(f[::2], f[1::2], strict=True)) for _, f in found]
    return [UsageEvent.from_json(fields[b"e"]).output for fields in pairs]


async def test_what_redis_could_not_be_told_is_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = await open_stream()
    journal = Journal(tmp_path, 600)
    journal.open()
    lease = Recorder(journal).opened(grant, ALLOWANCE_TOKENS)
    await connections.close()
    with monkeypatch.context() as away:
        configure(away, redis_url=f"redis://127.0.0.1:{free_port()}")
        await lease.advance(256, lambda: 600)
        await connections.close()

    assert list(progress_in(journal.records())) == [Progress("c1", 0, 600 + ALLOWANCE_TOKENS)]
    await journal.sync()
    journal.close()
    configure(monkeypatch)

    assert adopt(tmp_path) == 0
    assert reap(0) == 1  # at once: its lease ended with its owner
    assert recorded() == [600 + ALLOWANCE_TOKENS]


@pytest.mark.parametrize(("known", "expected"), [(100, 700), (900, 900)])
async def test_progress_only_grows(tmp_path: Path, known: int, expected: int) -> None:
    await open_stream()
    await connections.close()
    connections.command("HSET", ledger_keys.call(0, "c1"), "received", known)
    journal = Journal(tmp_path, 600)
    journal.open()
    journal.append(Progress("c1", 0, 700).to_json())
    await journal.sync()
    journal.close()

    adopt(tmp_path)

    assert (reap(0), recorded()) == (1, [expected])


async def test_a_gateway_adopts_it_as_well_and_leaves_settled_calls_alone(tmp_path: Path) -> None:
    await open_stream()
    left = Journal(tmp_path, 600)
    left.open()
    for call_id in ("c1", "never heard of"):
        left.append(Progress(call_id, 0, 700).to_json())
    await left.sync()
    left.close()
    own = Journal(tmp_path, 600)
    own.open()

    await Recorder(own).adopt_orphans()

    assert (reap(0), recorded()) == (1, [700])
    assert connections.command("EXISTS", ledger_keys.call(0, "never heard of")) == 0
    own.close()
    await connections.close()


def test_events_are_no_progress() -> None:
    assert not is_progress(b'{"v":1,"call_id":"progress"}')
