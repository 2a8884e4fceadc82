"""Looking into forms that pass by: the same finding whatever the chunks, and nothing kept."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.forms import MAX_PART_HEAD_BYTES, MAX_VALUE_BYTES, FormWatch, boundary_of
from sentinel.exceptions import BadRequest

MARK = b"--XyZ"
MOST_KEPT = MAX_PART_HEAD_BYTES + 64


def part(content: bytes, disposition: bytes = b'; name="model"', more: bytes = b"") -> bytes:
    return MARK + b"\r\nContent-Disposition: form-data" + disposition + b"\r\n" + more + b"\r\n" + content + b"\r\n"


def file(content: bytes, name: bytes = b"a.wav") -> bytes:
    return part(content, b'; name="file"; filename="%b"' % name, b"Content-Type: audio/wav\r\n")


MODEL = part(b"whisper-1")
END = MARK + b"--\r\n"
FORMS = {
    "first": MODEL + file(b"sound") + END,
    "last": file(b"sound") + MODEL + END,
    "between": file(b"x" * 5000) + MODEL + file(b"y" * 5000) + END,
    "without": file(b"sound") + part(b"en", b'; name="language"') + END,
    "empty": END,
    "empty value": part(b"") + END,
    "twice": MODEL + file(b"sound") + MODEL + END,
    "preamble": b"This is a form.\r\n" + MODEL + END,
    "epilogue": MODEL + END + MODEL + MODEL,
    "almost boundaries": file(b"\r\n--Xy\r\n--\r\n-\r\n\r\n--XyY" + MARK + b"\r\r\n--Xy") + MODEL + END,
    "a boundary that goes on": file(b"\r\n--XyZebra") + MODEL + END,
    "unquoted": part(b"whisper-1", b"; name=model") + END,
    "no space": part(b"whisper-1", b';name="model"') + END,
    "after the file's name": part(b"whisper-1", b'; filename="a"; name="model"') + END,
    "the file's name says so": part(b"x", b'; name="file"; filename="a; name=model; name=\\"model\\""') + END,
    "lower case": MODEL.lower().replace(b"xyz", b"XyZ") + END,
    "other lines first": part(b"whisper-1").replace(b"\r\nContent-D", b"\r\nContent-Type: text/plain\r\nContent-D")
    + END,
    "no lines at all": MARK + b"\r\n\r\nwhisper-1\r\n" + END,
    "not UTF-8": part(b"\xff\xfe") + END,
    "longest value": part(b"m" * MAX_VALUE_BYTES) + END,
    "too long value": part(b"m" * (MAX_VALUE_BYTES + 1)) + END,
    "longest head": part(b"x", more=b"X: ".ljust(MAX_PART_HEAD_BYTES - 100, b"x") + b"\r\n") + END,
    "too long head": part(b"x", more=b"X: ".ljust(MAX_PART_HEAD_BYTES, b"x") + b"\r\n") + END,
    "cut in the value": MARK + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhis',
    "two names": part(b"whisper-1", b'; name="file"; name="model"') + END,
    "two dispositions": part(b"whisper-1", b'; name="file"', b'Content-Disposition: form-data; name="model"\r\n') + END,
    "folded": part(b"whisper-1", b';\r\n name="model"') + END,
    "bare line end": part(b"whisper-1", b'; name="file"\nContent-Disposition: form-data; name="model"') + END,
    "escaped": part(b"whisper-1", b'; name="mod\\el"') + END,
    "extended": part(b"whisper-1", b"; name*=UTF-8''model") + END,
    "not parsable": part(b"whisper-1", b'; filename="a"x"; name="model') + END,
}
FOUND = {
    "first": "whisper-1", "last": "whisper-1", "between": "whisper-1", "without": None, "empty": None,
    "empty value": "", "preamble": "whisper-1", "epilogue": "whisper-1", "almost boundaries": "whisper-1",
    "unquoted": "whisper-1", "no space": "whisper-1", "after the file's name": "whisper-1",
    "the file's name says so": None, "lower case": "whisper-1", "other lines first": "whisper-1",
    "no lines at all": None, "longest value": "m" * MAX_VALUE_BYTES, "longest head": "x",
}  # fmt: skip
REFUSED = {
    "twice": "duplicate_key", "a boundary that goes on": "invalid_form", "not UTF-8": "invalid_request",
    "too long value": "invalid_request", "too long head": "invalid_form", "two names": "invalid_form",
    "two dispositions": "invalid_form", "folded": "invalid_form", "bare line end": "invalid_form",
    "escaped": "invalid_form", "extended": "invalid_form", "not parsable": "invalid_form",
}  # fmt: skip


def watch(*chunks: bytes) -> tuple[str | None, bool, str]:
    """What the form's field says, whether the form is over, and the code of the error."""
    form = FormWatch(b"XyZ", "model")
    try:
        for chunk in chunks:
            form.feed(chunk)
            assert len(form._buffer) <= MOST_KEPT
    except BadRequest as error:
        return form.value, form.is_closed, error.error_code
    return form.value, form.is_closed, ""


@pytest.mark.parametrize("name", FOUND)
def test_what_a_form_says(name: str) -> None:
    assert watch(FORMS[name]) == (FOUND[name], True, "")


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_that_two_readers_could_read_differently_is_refused(name: str) -> None:
    assert watch(FORMS[name])[2] == REFUSED[name]


def test_a_form_that_is_cut_says_nothing_and_is_not_over() -> None:
    assert watch(FORMS["cut in the value"]) == (None, False, "")


@pytest.mark.parametrize("name", FORMS)
def test_byte_by_byte_is_the_same_as_at_once(name: str) -> None:
    form = FORMS[name]

    assert watch(*[form[at : at + 1] for at in range(len(form))]) == watch(form)


@settings(deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.lists(st.integers(0, 12_000), max_size=12))
def test_any_split_is_the_same_as_at_once(name: str, cuts: list[int]) -> None:
    form = FORMS[name]
    places = [0, *sorted(cuts), len(form)]

    assert watch(*[form[start:end] for start, end in pairwise(places)]) == watch(form)


PIECES = [MARK, b"--", b"\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; name=", b'"model"', b"x", b"\n", b"\r"]


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.lists(st.integers(0, 400), max_size=8))
def test_anything_at_all_is_the_same_however_split(pieces: list[bytes], cuts: list[int]) -> None:
    form = b"".join(pieces)
    places = [0, *sorted(cuts), len(form)]

    assert watch(*[form[start:end] for start, end in pairwise(places)]) == watch(form)


@pytest.mark.parametrize(
    "endless",
    [
        b"x" * 100_000,
        b"\r\n--Xy" * 20_000,
        file(b"x" * 100_000),
        file(b"x" * 100_000)[:-1],
        file(b"x" * 100_000) + MARK,
    ],
)
def test_however_much_comes_at_once_only_what_may_begin_a_boundary_is_kept(endless: bytes) -> None:
    form = FormWatch(b"XyZ", "model")

    form.feed(endless)

    assert len(form._buffer) <= len(b"\r\n--XyZ\r\n")


def test_the_field_is_known_as_soon_as_its_boundary_has_passed() -> None:
    form = FormWatch(b"XyZ", "model")

    said = []
    for piece in (MODEL, MARK, b"\r\n"):
        form.feed(piece)
        said.append(form.value)

    assert said == [None, None, "whisper-1"]
    assert not form.is_closed


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=XyZ", b"XyZ"),
        (b"Multipart/Form-Data;boundary=XyZ", b"XyZ"),
        (b'multipart/form-data; charset=utf-8; Boundary="a b"', b"a b"),
        (b"multipart/form-data; boundary=XyZ; charset=utf-8", b"XyZ"),
        (b"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk", b"----WebKitFormBoundary7MA4YWxk"),
        (b"multipart/form-data; boundary=" + b"b" * 70, b"b" * 70),
    ],
)
def test_the_boundary_of_a_content_type(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b"multipart/form-data; boundary=a b",
        b'multipart/form-data; boundary="a',
        b"multipart/form-data; boundary=" + b"b" * 71,
        b"multipart/form-data; xboundary=a",
        b"multipart/mixed; boundary=a",
        b"multipart/form-data; boundary=a; boundary=b",
        b'multipart/form-data; x="; boundary=a"; boundary=b',
    ],
)
def test_a_content_type_without_one_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        boundary_of(content_type)

    assert refused.value.error_code == "invalid_form"


@pytest.mark.parametrize("name", ["file_id", "file_ids[]", "file_ids[0]", "tools[0][file_id]", "a.file_id"])
def test_a_field_that_the_form_may_not_have_is_refused(name: str) -> None:
    watch = FormWatch(b"B", "model", closed=["file_id", "file_ids"])

    with pytest.raises(BadRequest) as refused:
        watch.feed(b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\nfile-1\r\n--B--\r\n' % name.encode())

    assert refused.value.error_code == "invalid_form"
