"""The running API held to its own document: what that allows and what it forbids is sent, and every answer compared.

Whether a body is right is the provider's to say, so checks that need to know it are left out. Every run sends the same.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sentinel.sandbox.cast import METRICS
from tests.stack import Stack, running
from tests.wait import until

KEY = "key-of-the-document"
# Most bodies name a model that the provider has; the others end there.
KNOWN_MODELS = """
[dictionaries.models]
values = ["gpt-4o-mini", "gpt-3.5-turbo"]
[parameters]
"body.model" = { dictionary = "models", probability = 0.8 }
"""
NOT_OURS = "positive_data_acceptance,negative_data_rejection"
pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """One gateway with its API document, and room for as many calls as it takes."""
    settings = {"DOCS_API_KEY": KEY, "RATE_LIMIT_REQUESTS": "1000000", "FAILED_LOGINS_PER_MINUTE": "1000000"}
    with running(gateways=1, settings=settings) as stack:
        yield stack


@pytest.fixture
def document(own_stack: Stack, tmp_path: Path) -> Path:
    """The document as a reader gets it, in a file."""
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.get(f"{own_stack.url}/v1/openapi.json", headers=headers, trust_env=False, timeout=20)
    assert answer.status_code == 200, answer.text
    path = tmp_path / "openapi.json"
    path.write_bytes(answer.content)
    return path


def test_every_answer_is_as_the_document_says_and_each_call_counts_once(own_stack: Stack, document: Path) -> None:
    dora = own_stack.person("dora", limits=dict.fromkeys(METRICS, 2**53))
    report = document.with_name("report.json")
    document.with_name("schemathesis.toml").write_text(KNOWN_MODELS)

    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", own_stack.url),
            *("--header", f"Authorization: Bearer {dora.token}", "--generation-deterministic"),
            *("--phases", "examples,coverage,fuzzing", "--mode", "all", "--max-examples", "100"),
            *("--checks", "all", "--exclude-checks", NOT_OURS, "--continue-on-failure", "--warnings", "off"),
            *("--report", "json", "--report-json-path", str(report), "--no-color"),
        ],
        cwd=document.parent,
        env={**os.environ, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=170,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(report.read_text())
    assert found["complete"]
    assert found["operations"]["tested"] == found["operations"]["total"] >= 9
    assert found["test_cases"]["generated"] > 1000
    until(own_stack.is_at_rest, 30, "all usage is delivered")
    served = [call for call in own_stack.provider.ask("/_control/calls") if is_metered(call)]
    assert len(served) > 100
    assert own_stack.at_zion(dora)["requests"] == len(served)


def is_metered(call: dict[str, Any]) -> bool:
    """Whether the provider's record is of a call that it answered, and that counts."""
    return (call["status"], call["method"]) == (200, "POST")
