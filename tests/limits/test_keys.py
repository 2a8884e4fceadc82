import pytest

from limits import keys
from tests.limits.make import configure

pytestmark = pytest.mark.usefixtures("ledger")


def test_all_keys_of_one_script_share_their_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, usage_shards=64, redis_key_prefix="")
    shard = keys.shard_of("ext-ada")

    names = [
        keys.user("ext-ada"), keys.rate("ext-ada"), keys.waiting("ext-ada"), keys.waiting_seen("ext-ada"),
        keys.call(shard, "c1"), keys.leases(shard),
    ]  # fmt: skip

    assert {name.partition("}")[0] for name in names} == {f"{{s{shard:02d}"}
    assert len(set(names)) == len(names)


def test_users_spread_over_the_shards_and_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, usage_shards=8)

    shards = [keys.shard_of(f"ext-{number}") for number in range(500)]

    assert set(shards) == set(range(8))
    assert shards == [keys.shard_of(f"ext-{number}") for number in range(500)]


def test_a_user_named_like_a_tag_does_not_leave_the_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, redis_key_prefix="")

    assert keys.user("{s99}:user:ben") == "{s00}:user:{s99}:user:ben"


def test_the_cached_limits_have_the_promised_name(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, redis_key_prefix="")

    assert keys.limits_cache("ext-ada") == "limits:ext-ada"


def test_half_a_surrogate_pair_in_a_name_still_has_a_shard() -> None:
    assert keys.shard_of("ext-\ud800") == 0
