import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from limits import keys as ledger_keys
from limits.values import Grant, RateState
from sentinel import config
from sentinel.launch.redis import EmbeddedRedis
from sentinel.lib import background
from sentinel.lib import redis as connections
from tests.limits.make import admit, configure, make_admission, make_ask, make_limits, state, store
from tests.redis_server import private_server
from tests.usage.make import make_event
from tests.wait import eventually
from usage import keys
from usage.journal import Journal, read
from usage.lease import ALLOWANCE_TOKENS
from usage.recorder import SETTLE, Recorder, settle_call
from usage.values import Details, Source, UsageEvent


@pytest.fixture
async def online(ledger: redis.Redis, tmp_path: Path) -> AsyncIterator[redis.Redis]:
    yield ledger
    await end()


async def end() -> None:
    """Nothing of this test goes on."""
    mine = [task for task in background.running() if task.get_loop() is asyncio.get_running_loop()]
    for task in mine:
        task.cancel()
    if mine:
        await asyncio.wait(mine)
    await connections.close()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedRedis]:
    """A Redis that this test may kill."""
    with private_server("--appendfsync", "always") as own:
        configure(monkeypatch, redis_url=own.url, redis_timeout_seconds=1, quota_wait_seconds=0)
        connections.ledger.cache_clear()
        yield own
        await end()
        connections.ledger().close()
        connections.ledger.cache_clear()
        config.get.cache_clear()


def make_journal(folder: Path) -> Journal:
    journal = Journal(folder, 600)
    journal.open()
    return journal


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = make_journal(tmp_path / "journal")
    yield made
    made.close()


def events() -> list[UsageEvent]:
    return [UsageEvent.from_json(fields[b"e"]) for fields in entries()]


def entries() -> list[dict[bytes, bytes]]:
    found: list[Any] = connections.command("XRANGE", keys.stream(0), "-", "+")
    return [
        fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in found
    ]


async def open_call(call_id: str) -> tuple[Grant, UsageEvent]:
    grant = await admit(make_admission(), make_ask(10, cap=100), call_id=call_id)
    return grant, make_event(call_id=call_id, admitted_ms=grant.admitted_ms)


def make_grant(call_id: str) -> Grant:
    return Grant(call_id, 0, "ext-ada", 0, 100, 10, 100, RateState(100, 99, 0))


@pytest.mark.usefixtures("online")
async def test_a_settle_is_acknowledged_by_redis_and_also_stands_in_the_journal(journal: Journal) -> None:
    store(*make_limits())
    recorder = Recorder(journal)
    grant, event = await open_call("c1")
    recorder.opened(grant, 0)

    receipt = await recorder.settle(event)
    again = await recorder.settle(event)

    assert (receipt.status, receipt.waiting, again.status) == ("settled", 1, "duplicate")
    assert receipt.entry_id
    assert events() == [event]
    assert list(journal.records()) == [event.to_json()] * 2
    assert recorder.unconfirmed == 0


async def test_what_redis_cannot_take_is_on_the_disk_first_and_offered_again_until_it_is_taken(
    server: EmbeddedRedis, journal: Journal
) -> None:
    store(*make_limits())
    recorder = Recorder(journal)
    calls = [await open_call(f"c{number}") for number in range(5)]
    server.kill()

    receipts = [await recorder.settle(event) for _, event in calls]
    await recorder.tick()
    assert {receipt.status for receipt in receipts} == {"journalled"}
    assert recorder.unconfirmed == 5
    (segment,) = journal.folder.glob("*.journal")
    assert len(list(read(segment))) == 5

    server.start()
    await eventually(lambda: _ticked(recorder))
    await recorder.tick()

    assert sorted(event.call_id for event in events()) == ["c0", "c1", "c2", "c3", "c4"]
    assert {fields[b"r"] for fields in entries()} == {b"0"}
    assert (state()["active"], state()["ai_usage.output:held"]) == (0, 0)
    assert state()["ai_usage.output:pending"] == 25


async def _ticked(recorder: Recorder) -> bool:
    await recorder.tick()
    return recorder.unconfirmed == 0


async def test_a_settle_whose_answer_was_lost_is_counted_once(server: EmbeddedRedis, journal: Journal) -> None:
    store(*make_limits())
    recorder = Recorder(journal)
    _, event = await open_call("c1")
    connections.command("CLIENT", "PAUSE", 60_000, "ALL")

    receipt = await recorder.settle(event)  # arrives, is carried out late, and its answer is never read
    server.kill()
    server.start()
    connections.ledger().connection_pool.disconnect()
    await eventually(lambda: _ticked(recorder))

    assert receipt.status == "journalled"
    assert events() == [event]


async def test_what_a_restarted_redis_has_lost_is_brought_back_from_the_journal_though_nobody_calls(
    server: EmbeddedRedis, journal: Journal
) -> None:
    store(*make_limits())
    recorder = Recorder(journal)
    kept, lost = await open_call("kept"), await open_call("lost")
    await recorder.settle(kept[1])
    await recorder.settle(lost[1])
    connections.command("DEL", keys.stream(0), ledger_keys.call(0, "lost"))  # what a crash takes with it
    server.kill()
    server.start()
    connections.ledger().connection_pool.disconnect()

    async def noticed() -> bool:
        await recorder.tick()
        return bool(entries())

    await eventually(noticed)

    assert [event.call_id for event in events()] == ["lost"]
    assert entries()[0][b"r"] == b"1"


@pytest.mark.usefixtures("online")
async def test_leases_of_open_calls_are_moved_and_those_of_closed_calls_are_not(journal: Journal) -> None:
    store(*make_limits())
    recorder = Recorder(journal)
    (first, _), (second, _), (settled, event) = [await open_call(name) for name in ("a", "b", "c")]
    for grant in (first, second, settled):
        recorder.opened(grant, ALLOWANCE_TOKENS)
        connections.command("ZADD", ledger_keys.leases(0), 5, grant.call_id)
    recorder.closed(second)
    await recorder.settle(event)

    await recorder.tick()

    leases = {name: connections.command("ZSCORE", ledger_keys.leases(0), name) for name in ("a", "b", "c")}
    assert (leases["b"], leases["c"]) == (5, None)
    assert leases["a"] > first.admitted_ms + 80_000
    assert connections.command("HGET", ledger_keys.call(0, "a"), "received") == b"%d" % ALLOWANCE_TOKENS


@pytest.mark.usefixtures("online")
async def test_leases_are_moved_a_few_times_per_lease_and_not_at_every_tick(journal: Journal) -> None:
    store(*make_limits())
    recorder = Recorder(journal)
    grant, _ = await open_call("a")
    recorder.opened(grant, ALLOWANCE_TOKENS)
    await recorder.tick()
    connections.command("ZADD", ledger_keys.leases(0), 5, "a")

    await recorder.tick()

    assert connections.command("ZSCORE", ledger_keys.leases(0), "a") == 5


@pytest.mark.usefixtures("online")
async def test_a_lease_raises_what_redis_knows_before_more_is_passed_on(journal: Journal) -> None:
    store(*make_limits())
    grant, _ = await open_call("a")
    lease = Recorder(journal).opened(grant, ALLOWANCE_TOKENS)
    first = lease.asks_at

    await lease.advance(first, lambda: 40)

    known = int(connections.command("HGET", ledger_keys.call(0, "a"), "received"))
    assert known == lease.received == 40 + ALLOWANCE_TOKENS
    assert lease.asks_at == first + ALLOWANCE_TOKENS


async def test_a_stream_goes_on_while_redis_is_away(monkeypatch: pytest.MonkeyPatch, journal: Journal) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)
    lease = Recorder(journal).opened(make_grant("a"), ALLOWANCE_TOKENS)

    await lease.advance(256, lambda: 256)

    assert lease.asks_at == 256 + ALLOWANCE_TOKENS
    await end()
    config.get.cache_clear()


@pytest.mark.usefixtures("online")
async def test_segments_of_a_dead_process_are_replayed_once(journal: Journal) -> None:
    store(*make_limits())
    dead = make_journal(journal.folder)
    (_, known), (_, unknown) = await open_call("known"), await open_call("unknown")
    await Recorder(dead).settle(known)
    dead.append(unknown.to_json())
    dead.append(b"not an event")
    dead.close()

    await asyncio.gather(Recorder(journal).adopt_orphans(), Recorder(journal).adopt_orphans())

    assert sorted(event.call_id for event in events()) == ["known", "unknown"]
    assert len(list(journal.folder.glob("*.journal"))) == 1


async def test_orphans_that_redis_cannot_take_wait_for_another_try(server: EmbeddedRedis, journal: Journal) -> None:
    store(*make_limits())
    _, event = await open_call("c1")
    dead = make_journal(journal.folder)
    dead.append(event.to_json())
    dead.close()
    recorder = Recorder(journal)
    server.kill()

    await recorder.adopt_orphans()
    assert len(list(journal.folder.glob("*.journal"))) == 2
    server.start()
    connections.ledger().connection_pool.disconnect()

    async def adopted() -> bool:
        await recorder.adopt_orphans()
        return len(list(journal.folder.glob("*.journal"))) == 1

    await eventually(adopted)
    assert events() == [event]


async def test_the_only_durable_copy_of_an_event_is_not_tidied_away_during_a_long_outage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)
    journal = Journal(tmp_path / "journal", 0.0)  # everything is old at once
    journal.open()
    recorder = Recorder(journal)
    event = make_event(call_id="c1")

    await recorder.settle(event)
    for _ in range(5):
        await recorder.tick()

    assert list(journal.records()) == [event.to_json()]
    journal.close()
    await end()
    config.get.cache_clear()


@pytest.mark.usefixtures("online")
async def test_housekeeping_survives_a_journal_that_cannot_be_rotated(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", 0.0)
    journal.open()
    for path in journal.folder.iterdir():
        path.unlink()
    journal.folder.rmdir()

    await Recorder(journal).tick()

    journal.close()


async def test_what_can_be_stored_nowhere_is_logged_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)
    journal = make_journal(tmp_path / "journal")

    async def fail() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "sync", fail)
    recorder = Recorder(journal)

    receipt = await recorder.settle(make_event(call_id="the-lost-call"))

    assert receipt.status == "journalled"
    assert recorder.unconfirmed == 1
    assert "the-lost-call" in capsys.readouterr().out
    journal.close()
    await end()
    config.get.cache_clear()


async def test_draining_offers_what_only_the_journal_has_or_leaves_it_to_siblings(
    server: EmbeddedRedis, journal: Journal
) -> None:
    store(*make_limits())
    recorder = Recorder(journal)
    _, event = await open_call("c1")
    server.kill()
    await recorder.settle(event)

    await recorder.drain()
    assert recorder.unconfirmed == 1
    server.start()
    connections.ledger().connection_pool.disconnect()

    async def drained() -> bool:
        await recorder.drain()
        return recorder.unconfirmed == 0

    await eventually(drained)
    assert events() == [event]


@pytest.mark.usefixtures("online")
async def test_details_survive_in_the_journal_that_a_dead_process_left(journal: Journal) -> None:
    store(*make_limits())
    _, event = await open_call("c1")
    told = replace(event, details=Details(cached_input=4, audio_output=2))
    dead = make_journal(journal.folder)
    dead.append(told.to_json())
    dead.close()

    await Recorder(journal).adopt_orphans()

    assert events() == [told]


@pytest.mark.usefixtures("online")
async def test_a_late_settle_corrects_what_the_reaper_recorded(journal: Journal) -> None:
    store(*make_limits())
    _, event = await open_call("c1")
    names, args = settle_call(replace(event, output=3, source=Source.REAPED), reaped=True)
    connections.command("ZADD", ledger_keys.leases(0), 1, "c1")
    SETTLE.run(names, args)
    receipt = await Recorder(journal).settle(event)

    assert receipt.status == "corrected"
    assert [(found.call_id, found.output) for found in events()] == [("c1", 3), ("c1#1", 2)]
    assert orjson.loads(entries()[1][b"e"])["input"] == 0
