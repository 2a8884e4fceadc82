import asyncio
import base64
import hashlib
from typing import Any

import orjson
import pytest

from gateway import keys
from gateway.auth import Authenticator, bearer_token
from gateway.throttle import FailureThrottle
from limits.values import Principal
from sentinel.exceptions import (
    CallError,
    Forbidden,
    GovernanceUnavailable,
    QuotaStoreUnavailable,
    RateLimitExceeded,
    Unauthenticated,
)
from sentinel.lib import clock
from sentinel.lib import redis as connections
from sentinel.zion.schemas import Profile, ZionForbidden, ZionRejectedToken, ZionUnavailable
from tests.limits.make import configure, loop_turns, redis_now_ms
from tests.wait import eventually

pytestmark = pytest.mark.usefixtures("online")
ADA = "ada-token"
HEADER = f"Bearer {ADA}"


class FakeZion:
    """Profiles; `failure` is raised instead, `gate` is waited for before an answer."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked: list[str] = []

    async def fetch_profile(self, token: str) -> Profile:
        self.asked.append(token)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Profile("user-ada", "ext-ada", "ada@example.com")


def make(zion: FakeZion, *, allowed: int = 60) -> Authenticator:
    return Authenticator(zion, FailureThrottle(allowed))


def digest(token: str = ADA) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def cached(token: str = ADA) -> Any:
    value = connections.command("GET", keys.token(digest(token)))
    return None if value is None else orjson.loads(value)


def put(entry: object, token: str = ADA) -> None:
    connections.command("SET", keys.token(digest(token)), orjson.dumps(entry))


def jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(orjson.dumps(claims)).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{payload}.c2ln"


async def test_a_token_is_validated_once_and_then_known_without_redis_or_zion() -> None:
    zion = FakeZion()
    auth = make(zion)

    first = await auth.identify(HEADER, "1.2.3.4")
    connections.command("DEL", keys.token(digest()))
    second = await auth.identify(HEADER, "1.2.3.4")

    assert first == second
    assert (first.external_id, first.email, first.token_hash) == ("ext-ada", "ada@example.com", digest())
    assert zion.asked == [ADA]


async def test_another_process_finds_the_token_in_the_cache() -> None:
    zion, other = FakeZion(), FakeZion()
    first = await make(zion).identify(HEADER, "a")

    assert await make(other).identify(HEADER, "a") == first

    assert other.asked == []
    assert 290 <= connections.command("TTL", keys.token(digest())) <= 300


async def test_the_token_itself_is_stored_nowhere() -> None:
    await make(FakeZion()).identify(HEADER, "a")

    for name in connections.command("KEYS", "*"):
        assert ADA.encode() not in name
    assert ADA not in orjson.dumps(cached()).decode()


async def test_the_time_of_validation_is_taken_before_zion_is_asked() -> None:
    zion = FakeZion()
    zion.gate = asyncio.Event()
    before = redis_now_ms()
    asking = asyncio.ensure_future(make(zion).identify(HEADER, "a"))
    await eventually(lambda: zion.asked)
    asked = redis_now_ms()

    zion.gate.set()

    assert before <= (await asking).validated_ms <= asked


@pytest.mark.parametrize(
    "entry",
    [
        {"hash": "f" * 64, "rejected": "invalid_token"},
        {"hash": digest(), "user_id": "user-eve"},
        {"user_id": "u", "external_id": "ext-eve", "email": "e", "validated_ms": 1, "token_hash": digest()},
        ["hash", digest()],
        "text",
        None,
    ],
)
async def test_a_cached_value_that_is_not_whole_or_of_another_token_is_a_miss(entry: object) -> None:
    zion = FakeZion()
    put(entry)

    assert (await make(zion).identify(HEADER, "a")).external_id == "ext-ada"

    assert zion.asked == [ADA]


async def test_garbage_in_the_cache_is_a_miss() -> None:
    connections.command("SET", keys.token(digest()), b"\xff{")

    assert (await make(FakeZion()).identify(HEADER, "a")).external_id == "ext-ada"


async def test_a_rejected_token_is_remembered_for_a_few_seconds_by_all_processes() -> None:
    zion = FakeZion()
    zion.failure = ZionRejectedToken("no")
    with pytest.raises(Unauthenticated) as first:
        await make(zion).identify(HEADER, "a")

    zion.failure = None
    with pytest.raises(Unauthenticated):
        await make(zion).identify(HEADER, "a")

    assert (first.value.error_code, first.value.headers) == ("invalid_token", {"WWW-Authenticate": "Bearer"})
    assert len(zion.asked) == 1
    assert 0 < connections.command("TTL", keys.token(digest())) <= 10


async def test_a_forbidden_user_is_remembered_as_forbidden() -> None:
    zion = FakeZion()
    zion.failure = ZionForbidden("no")

    for _ in range(2):
        with pytest.raises(Forbidden):
            await make(zion).identify(HEADER, "a")

    assert len(zion.asked) == 1


async def test_an_outage_of_zion_is_no_401_and_is_not_remembered() -> None:
    zion = FakeZion()
    zion.failure = ZionUnavailable("down")
    auth = make(zion, allowed=1)

    for _ in range(3):
        with pytest.raises(GovernanceUnavailable):
            await auth.identify(HEADER, "a")
    zion.failure = None

    assert (await auth.identify(HEADER, "a")).external_id == "ext-ada"
    assert connections.command("EXISTS", keys.token_lock(digest())) == 0


async def test_callers_of_one_process_share_one_question_and_one_that_leaves_does_not_end_it() -> None:
    zion = FakeZion()
    zion.gate = asyncio.Event()
    auth = make(zion)
    waiting = [asyncio.ensure_future(auth.identify(HEADER, "a")) for _ in range(10)]
    await eventually(lambda: zion.asked)

    waiting[0].cancel()
    zion.gate.set()
    found = await asyncio.gather(*waiting[1:])

    assert len(zion.asked) == 1
    assert len(set(found)) == 1


async def test_callers_of_two_processes_share_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, zion_timeout_seconds=30)  # the patience of the second, whatever else this machine does
    zion, other = FakeZion(), FakeZion()
    zion.gate = asyncio.Event()
    first = asyncio.ensure_future(make(zion).identify(HEADER, "a"))
    await eventually(lambda: zion.asked)
    second = asyncio.ensure_future(make(other).identify(HEADER, "a"))
    await loop_turns(5)

    zion.gate.set()

    assert await first == await second
    assert other.asked == []


async def test_a_lock_that_nobody_returns_does_not_hold_callers_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, zion_timeout_seconds=0.01)
    connections.command("SET", keys.token_lock(digest()), "1")

    assert (await make(FakeZion()).identify(HEADER, "a")).external_id == "ext-ada"


async def test_a_lock_of_somebody_else_is_not_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, zion_timeout_seconds=0.01)
    connections.command("SET", keys.token_lock(digest()), "another's")

    await make(FakeZion()).identify(HEADER, "a")

    assert connections.command("GET", keys.token_lock(digest())) == b"another's"


async def test_a_token_is_believed_no_longer_than_it_says_itself() -> None:
    token = jwt(exp=clock.now_ms() / 1000 + 20)

    await make(FakeZion()).identify(f"Bearer {token}", "a")

    assert 15 <= connections.command("TTL", keys.token(digest(token))) <= 20


async def test_an_expired_token_is_refused_without_asking_zion() -> None:
    zion = FakeZion()

    with pytest.raises(Unauthenticated):
        await make(zion).identify(f"Bearer {jwt(exp=clock.now_ms() / 1000 - 60)}", "a")

    assert zion.asked == []


@pytest.mark.parametrize("claims", [{}, {"exp": "soon"}, {"exp": None}, {"exp": True}, {"exp": 2**62}])
def test_an_expiry_that_cannot_be_read_or_is_far_does_not_matter(claims: dict[str, Any]) -> None:
    token = jwt(**claims)

    assert bearer_token(f"Bearer {token}") == token


@pytest.mark.parametrize("token", ["a.b.c", "a.!!!.c", "a." + "W10" + ".c", "..", "a.bnVsbA.c"])
def test_three_parts_that_are_no_jwt_are_just_a_token(token: str) -> None:
    assert bearer_token(f"bearer {token}") == token


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_token"),
        ("", "missing_token"),
        ("Bearer", "missing_token"),
        ("Bearer   ", "missing_token"),
        ("Basic YTpi", "missing_token"),
        ("Bearer a,b", "invalid_token"),
        ("Bearer a b", "invalid_token"),
        ("Bearer ä", "invalid_token"),
        ("Bearer a\tb", "invalid_token"),
        ("Bearer " + "x" * 8193, "invalid_token"),
    ],
)
def test_what_is_no_usable_header(header: str | None, code: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        bearer_token(header)

    assert refused.value.error_code == code
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("header", ["bearer t", "BEARER t", "Bearer  t ", "Bearer " + "x" * 8192])
def test_the_scheme_has_no_case_and_spaces_around_the_token_do_not_count(header: str) -> None:
    assert bearer_token(header) == header[7:].strip()


async def test_renewing_asks_zion_again_whatever_is_cached() -> None:
    zion = FakeZion()
    auth = make(zion)
    old = await auth.identify(HEADER, "a")
    await eventually(lambda: redis_now_ms() > old.validated_ms)

    new = await auth.renew(HEADER, old)

    assert new.validated_ms > old.validated_ms
    assert len(zion.asked) == 2
    assert await auth.identify(HEADER, "a") == new
    assert await make(FakeZion()).identify(HEADER, "a") == new


async def test_renewing_does_not_settle_for_a_question_that_was_asked_before() -> None:
    zion = FakeZion()
    auth = make(zion)
    old = await auth.identify(HEADER, "a")
    zion.gate = asyncio.Event()
    connections.command("DEL", keys.token(digest()))
    auth._local.clear()
    early = asyncio.ensure_future(auth.identify(HEADER, "a"))
    await eventually(lambda: len(zion.asked) == 2)
    revoked_ms = redis_now_ms()
    await eventually(lambda: redis_now_ms() > revoked_ms)

    renewing = asyncio.ensure_future(auth.renew(HEADER, old))
    await loop_turns(20)
    zion.gate.set()
    await early

    assert (await renewing).validated_ms > revoked_ms


async def test_renewing_a_token_that_zion_no_longer_knows_is_a_401() -> None:
    zion = FakeZion()
    auth = make(zion)
    old = await auth.identify(HEADER, "a")
    zion.failure = ZionRejectedToken("revoked")

    with pytest.raises(Unauthenticated):
        await auth.renew(HEADER, old)


async def test_an_address_that_fails_often_is_refused_before_zion_is_asked() -> None:
    zion = FakeZion()
    zion.failure = ZionRejectedToken("no")
    auth = make(zion, allowed=2)
    for number in range(2):
        with pytest.raises(Unauthenticated):
            await auth.identify(f"Bearer wrong{number}", "bad")
    zion.failure = None

    with pytest.raises(RateLimitExceeded):
        await auth.identify(HEADER, "bad")

    assert (await auth.identify(HEADER, "good")).external_id == "ext-ada"
    assert (await auth.identify(HEADER, "bad")).external_id == "ext-ada"  # known by now: no validation that could fail


async def test_without_the_ledger_nobody_can_be_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)

    with pytest.raises(QuotaStoreUnavailable):
        await make(FakeZion()).identify(HEADER, "a")


async def test_without_the_cache_zion_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, cache_redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.5)
    zion = FakeZion()

    found = await make(zion).identify(HEADER, "a")

    assert isinstance(found, Principal)
    assert zion.asked == [ADA]


async def test_the_memory_of_a_process_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.auth._LOCAL_ENTRIES", 3)
    auth = make(FakeZion())

    for number in range(10):
        await auth.identify(f"Bearer t{number}", "a")

    assert len(auth._local) <= 3


def test_every_refusal_is_an_error_of_ours() -> None:
    with pytest.raises(CallError):
        bearer_token("Digest x")


@pytest.mark.parametrize(
    "changes",
    [{"rejected": None, "email": 5}, {"until_ms": "x"}, {"external_id": 5}, {"validated_ms": []}, {"email": {"a": 1}}],
)
async def test_a_cached_value_of_other_types_is_a_miss(changes: dict[str, Any]) -> None:
    zion = FakeZion()
    await make(zion).identify(HEADER, "a")
    entry = orjson.loads(connections.command("GET", keys.token(digest())))
    connections.command("SET", keys.token(digest()), orjson.dumps({**entry, **changes}))

    assert (await make(zion).identify(HEADER, "a")).email == "ada@example.com"
    assert len(zion.asked) == 2


async def test_a_key_of_another_kind_in_the_cache_is_a_miss() -> None:
    connections.command("RPUSH", keys.token(digest()), "junk")

    assert (await make(FakeZion()).identify(HEADER, "a")).external_id == "ext-ada"
