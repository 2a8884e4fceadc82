from hashlib import sha256

import httpx

from sentinel.sandbox.cast import PROVIDER_KEY
from tests.sandbox.calls import CHAT, ask, chat, last_call
from tests.servers import Served

BEARER = {"authorization": f"Bearer {PROVIDER_KEY}"}


def body_of(provider: Served, seq: object) -> httpx.Response:
    return httpx.get(provider.url + f"/_control/body?seq={seq}", trust_env=False)


def test_what_was_sent_can_be_compared_byte_by_byte(provider: Served) -> None:
    sent = b'{ "model":"gpt-4o",  "messages": [{"role":"user","content":"caf\\u00e9"}] }'
    httpx.post(provider.url + CHAT + "?a=%20b&a=2", content=sent, headers=BEARER, trust_env=False)

    call = last_call(provider)
    assert (call["sha256"], call["query"]) == (sha256(sent).hexdigest(), "a=%20b&a=2")
    assert body_of(provider, call["seq"]).content == sent


def test_the_newest_bodies_are_kept_up_to_a_megabyte(provider: Served) -> None:
    ask(provider, chat("a" * 1_100_000, model="gpt-3.5-turbo"))
    assert len(body_of(provider, 1).content) == 1024 * 1024
    with httpx.Client(headers=BEARER, trust_env=False) as client:
        for _ in range(200):
            client.get(provider.url + "/v1/models/gpt-4o")

    assert body_of(provider, 1).status_code == 404
    assert body_of(provider, 2).content == b""
    assert body_of(provider, "x").status_code == 400
