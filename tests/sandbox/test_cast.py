from sentinel.sandbox import cast


def test_identities_follow_from_the_name() -> None:
    found = [(user.name, user.token, user.external_id, user.email, user.user_id) for user in cast.CAST]

    names = ["ada", "ben", "cleo", "dora", "eli"]
    assert found == [(name, f"{name}-token", f"ext-{name}", f"{name}@example.com", f"user-{name}") for name in names]


def test_each_of_the_cast_has_their_character() -> None:
    assert cast.ADA.used == {}
    assert cast.BEN.limits["output"] == cast.BEN.used["output"] + 1
    assert cast.CLEO.is_revoked
    assert set(cast.DORA.limits.values()) == {None}
    assert all(cast.ELI.used[metric] == 2 * (cast.ELI.limits[metric] or 0) for metric in cast.METRICS)
