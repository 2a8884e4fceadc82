"""Which endpoints an operator has opened, and which objects a path names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.passthrough import METHODS, WORDS, Allowance, Template, parse


def opened(text: str, call: str) -> tuple[str, ...] | None:
    """The objects that a call like `GET /v1/files` names, None where it is closed."""
    method, _, path = call.partition(" ")
    return parse(text).objects_in(method, tuple(path.removeprefix("/v1").split("/")[1:]))


def test_nothing_is_open_unless_it_is_named() -> None:
    assert parse("") == parse(" , ,") == Allowance((), is_everything=False)
    assert opened("", "GET /v1/files") is None


def test_entries_are_separated_by_commas_with_or_without_spaces() -> None:
    both = (Template("GET", ("files",)), Template("POST", ("files", "*", "content")))

    assert parse("GET /v1/files,POST /v1/files/*/content").templates == both
    assert parse(" GET  /v1/files ,\n POST /v1/files/*/content, ").templates == both


@pytest.mark.parametrize(
    "entry",
    [
        "/v1/files",
        "GET",
        "get /v1/files",
        "HEAD /v1/files",
        "OPTIONS /v1/files",
        "* /v1/files",
        "GET files",
        "GET /files",
        "GET /v2/files",
        "GET /v1/files/",
        "GET /v1//files",
        "GET /v1/files?a=b",
        "GET /v1/%66iles",
        "GET /v1/fi*",
        "GET /v1/**/files",
        "GET /v1/files/***",
        "GET /v1/a b",
        "**",
    ],
)
def test_an_entry_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is not") as raised:
        parse(f"GET /v1/files, {entry}")

    assert repr(entry) in str(raised.value)


@pytest.mark.parametrize(
    ("template", "call", "objects"),
    [
        ("GET /v1/files", "GET /v1/files", ()),
        ("GET /v1/files", "POST /v1/files", None),
        ("GET /v1/files", "GET /v1/files/file-1", None),
        ("GET /v1/files", "GET /v1/Files", None),
        ("GET /v1/files/*", "GET /v1/files/file-1", ("file-1",)),
        ("GET /v1/files/*", "GET /v1/files", None),
        ("GET /v1/files/*", "GET /v1/files/file-1/content", None),
        ("GET /v1/files/*/content", "GET /v1/files/file-1/content", ("file-1",)),
        ("GET /v1/*/*", "GET /v1/files/file-1", ("file-1",)),
        ("GET /v1/threads/*/runs/*", "GET /v1/threads/th_1/runs/run_1", ("th_1", "run_1")),
        ("GET /v1/files/**", "GET /v1/files", ()),
        ("GET /v1/files/**", "GET /v1/files/file-1", ("file-1",)),
        ("GET /v1/files/**", "GET /v1/files/file-1/content", ("file-1",)),
        ("GET /v1/vector_stores/*/**", "GET /v1/vector_stores/vs_1/files/file-1", ("vs_1", "file-1")),
        ("GET /v1/**", "GET /v1/containers/cntr_1", ("cntr_1",)),
        ("POST /v1/**", "POST /v1/batches", None),
        ("POST /v1/*", "POST /v1/evals", None),
        ("POST /v1/evals/*/runs", "POST /v1/evals/eval_1/runs", ("eval_1",)),
        ("GET /v1/batches/*", "GET /v1/batches/batch_1", ("batch_1",)),
        ("GET /v1/**", "GET /v1/organization/admin_api_keys", None),
        ("GET /v1/organization/**", "GET /v1/organization/admin_api_keys", ("admin_api_keys",)),
        ("POST /v1/**", "POST /v1/realtime/sessions", None),
        ("POST /v1/realtime/*", "POST /v1/realtime/client_secrets", None),
        ("POST /v1/realtime/*", "POST /v1/realtime/calls", ("calls",)),
        ("POST /v1/realtime/sessions", "POST /v1/realtime/sessions", ()),
        ("GET /v1/files/file-1", "GET /v1/files/file-1", ()),
        ("GET /v1/files/file-1", "GET /v1/files/file-2", None),
    ],
)
def test_what_a_template_opens_and_which_objects_it_names(
    template: str, call: str, objects: tuple[str, ...] | None
) -> None:
    assert opened(template, call) == objects


def test_the_first_template_that_fits_decides() -> None:
    text = "GET /v1/files/mine, GET /v1/files/*"

    assert opened(text, "GET /v1/files/mine") == ()
    assert opened(text, "GET /v1/files/file-1") == ("file-1",)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(
    "path",
    [
        "/v1/organization",
        "/v1/organization/admin_api_keys",
        "/v1/organization/projects/proj_1/service_accounts",
        "/v1/realtime/sessions",
        "/v1/realtime/client_secrets",
        "/v1/realtime/transcription_sessions",
        "/v1/chatkit/sessions",
        "/v1/chatkit/sessions/sess_1/cancel",
    ],
)
def test_the_star_alone_leaves_closed_what_mints_keys_or_rules_the_organisation(method: str, path: str) -> None:
    assert opened("*", f"{method} {path}") is None
    assert opened(f"*, {method} {path}", f"{method} {path}") is not None


def test_the_star_alone_opens_the_rest_and_takes_what_it_does_not_know_for_an_object() -> None:
    assert opened("*", "GET /v1/files") == ()
    assert opened("*", "POST /v1/threads/th_1/runs/run_1/submit_tool_outputs") == ("th_1", "run_1")
    assert opened("*", "GET /v1/something_new") == ("something_new",)
    assert opened("GET /v1/files, *", "DELETE /v1/vector_stores/vs_1") == ("vs_1",)
    assert opened("*", "HEAD /v1/files") is None
    assert opened("*", "BREW /v1/files") is None


SEGMENTS = st.lists(st.sampled_from(["files", "threads", "id-1", "id-2", "content"]), max_size=4).map(tuple)
TEMPLATES = st.tuples(
    st.sampled_from(sorted(METHODS)),
    st.lists(st.sampled_from(["files", "threads", "content", "*"]), max_size=3),
    st.booleans(),
)


def fits(segments: list[str], path: tuple[str, ...], *, has_rest: bool) -> bool:
    """The rule, said another way: segment by segment."""
    if not segments:
        return has_rest or not path
    return bool(path) and segments[0] in {"*", path[0]} and fits(segments[1:], path[1:], has_rest=has_rest)


@given(st.lists(TEMPLATES, max_size=4), st.sampled_from(sorted(METHODS)), SEGMENTS)
def test_a_path_that_no_template_fits_is_closed(
    templates: list[tuple[str, list[str], bool]], method: str, path: tuple[str, ...]
) -> None:
    text = ",".join(f"{m} /v1{''.join('/' + s for s in parts)}{'/**' if rest else ''}" for m, parts, rest in templates)

    found = parse(text).objects_in(method, path)

    is_open = any(m == method and fits(parts, path, has_rest=rest) for m, parts, rest in templates)
    assert (found is not None) == is_open
    assert set(found or ()) <= set(path) - WORDS
