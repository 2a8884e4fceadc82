from typing import cast

from sentinel.sandbox.asgi import Request
from sentinel.sandbox.channel import Channel, json_reply
from sentinel.sandbox.zion_state import State
from sentinel.sandbox.zion_wire import Forms


def make_state() -> State:
    return State(honours_keys=True, forms=Forms())


def test_keys_are_counted_and_the_first_reply_is_kept() -> None:
    state = make_state()

    first = state.meet_key("k1")
    state.keep_reply("k1", "digest", json_reply(200, 1))
    state.keep_reply("k1", "digest", json_reply(200, 2))
    again = state.meet_key("k1")

    assert first is None
    assert again is not None
    assert again.reply.body == b"1"
    assert (len(state.keys_seen), state.duplicate_keys) == (1, 1)
    assert state.meet_key(None) is None


def test_of_a_request_its_header_names_are_noted_and_no_values() -> None:
    state = make_state()
    headers = (("x-api-key", "secret"), ("idempotency-key", "k1"))
    request = Request("POST", "/x", {}, headers, b"{}", "127.0.0.1", cast(Channel, None))

    seen = state.saw(request, "batch", is_right=True, at=1.0)

    assert (seen.header_names, seen.key, seen.status) == (("x-api-key", "idempotency-key"), "k1", None)
    assert "secret" not in repr(seen)


def test_a_reset_puts_switches_back() -> None:
    state = make_state()
    state.honours_keys, state.forms = False, Forms("externalId", "per_limit")

    state.reset()

    assert (state.honours_keys, state.forms) == (True, Forms())
