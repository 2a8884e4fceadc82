"""The page of the API document in a real browser: it asks for the key, renders, calls, and never leaves this host."""

from collections.abc import Iterator

import pytest

from tests.admin.test_journey import ARGS, CHROMIUM
from tests.stack import Stack, running

KEY = "key-of-the-document"
pytestmark = [pytest.mark.journey, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """One gateway whose API document has a key."""
    assert CHROMIUM.exists(), "A browser is missing: install Debian's package chromium."
    with running(gateways=1, settings={"DOCS_API_KEY": KEY}) as stack:
        yield stack


def test_a_reader_sees_every_operation_and_tries_one_without_a_request_leaving(own_stack: Stack) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    ada = own_stack.person("ada")
    asked: list[str] = []
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        context = browser.new_context(http_credentials={"username": "reader", "password": KEY})
        page = context.new_page()
        page.on("request", lambda sent: asked.append(sent.url))
        page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
        page.goto(f"{own_stack.url}/v1/docs")
        page.locator(".opblock").first.wait_for()
        shown = page.locator(".opblock .opblock-summary-path").all_inner_texts()

        page.get_by_role("button", name="Authorize").first.click()
        page.locator("input[aria-label='auth-bearer-value']").first.fill(ada.token)
        page.locator(".auth-btn-wrapper .authorize").first.click()
        page.locator(".close-modal").click()
        page.locator("#operations-models-list_models .opblock-summary-control").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()
        browser.close()

    paths = {path.replace("\u200b", "") for path in shown}
    assert {"/v1/chat/completions", "/v1/models/{model_id}", "/v1/usage", "/health", "/metrics"} <= paths
    assert f"{own_stack.url}/static/ninja/swagger-ui-bundle.js" in asked
    assert [url for url in asked if not url.startswith((own_stack.url, "data:", "blob:"))] == []
    assert said == []
