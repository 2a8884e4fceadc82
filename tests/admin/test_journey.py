"""The admin in a real browser: an address changed at Zion; an operator finds it, mends it, sees it delivered."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sentinel.config import BASE_DIR
from tests.people import Person
from tests.stack import Stack, running
from tests.wait import until

CHROMIUM = Path("/usr/bin/chromium")
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PASSWORD = "correct horse battery"
pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """One gateway; a rejection is final at once, so that nobody waits for five."""
    assert CHROMIUM.exists(), "A browser is missing: install Debian's package chromium."
    with running(gateways=1, settings={"DELIVERY_MAX_TRIES": "1"}) as stack:
        add_operator(stack)
        yield stack


def add_operator(stack: Stack) -> None:
    """Olivia, as `manage.py createsuperuser` makes her."""
    command = [
        sys.executable,
        "manage.py",
        "createsuperuser",
        "--noinput",
        "--username",
        "olivia",
        "--email",
        "o@e.com",
    ]
    told = {"SENTINEL_DATA_DIR": str(stack.folder), "REDIS_URL": stack.redis.url, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    made = subprocess.run(command, cwd=BASE_DIR, env={**os.environ, **told}, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr


def call(stack: Stack, person: Person) -> None:
    body = {"model": "gpt-4o-mini", "user": person.name, "messages": [{"role": "user", "content": "Is it open?"}]}
    answer = httpx.post(
        f"{stack.url}/v1/chat/completions", json=body, headers=person.headers, trust_env=False, timeout=20
    )
    assert answer.status_code == 200, answer.text


def test_an_operator_finds_a_dead_letter_rekeys_it_and_sees_it_delivered(own_stack: Stack) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    person = own_stack.person("moved")
    call(own_stack, person)
    until(own_stack.is_at_rest, 20, "the first call is delivered")
    before = own_stack.at_zion(person)
    own_stack.zion.tell("/_control/users", {"name": person.name, "email": "new-name@example.com"})
    call(own_stack, person)
    until(lambda: own_stack.set_aside() == 1, 20, "the second call is set aside")

    foreign: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        page = browser.new_page()
        page.on("request", lambda sent: foreign.append(sent.url) if _is_foreign(own_stack, sent.url) else None)
        page.goto(f"{own_stack.url}/admin/")
        page.fill("#id_username", "olivia")
        page.fill("#id_password", PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.locator("#nav-sidebar-inner a", has_text="Dead letters").click()
        page.locator("#result_list a").first.click()
        page.get_by_text(person.external_id).first.wait_for()
        letter = page.url

        page.get_by_role("link", name="Re-key and replay").click()
        page.fill("#id_email", "new-name@example.com")
        page.fill("#id_reason", "their address changed at Zion")
        page.get_by_role("button", name="Re-key and replay").click()
        page.get_by_text("due now").wait_for()
        until(own_stack.is_at_rest, 20, "the letter is delivered")
        page.goto(letter)
        page.get_by_text("Delivered:").wait_for()
        shown = page.content()
        page.locator("#nav-sidebar-inner a", has_text="Operator actions").click()
        page.get_by_text("their address changed at Zion").wait_for()
        browser.close()

    assert "new-name@example.com" in shown
    assert own_stack.at_zion(person)["requests"] == before["requests"] + 1
    assert own_stack.set_aside() == 0
    assert {row["email"] for row in own_stack.rows(person)} == {person.name + "@example.com", "new-name@example.com"}
    assert foreign == []


def _is_foreign(stack: Stack, url: str) -> bool:
    """Whether the page asked somebody else than us."""
    return not url.startswith((stack.url, "data:", "blob:"))
