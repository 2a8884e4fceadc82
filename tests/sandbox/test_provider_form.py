from hashlib import sha256

import pytest

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_form import parse_multipart, read_json, read_multipart

KIND = 'multipart/form-data; boundary="cut"'
FIELD = b'--cut\r\nContent-Disposition: form-data; name="n"\r\n\r\n2\r\n'
FILE = (
    b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a; %22b%22 100%25.bin"\r\n'
    b"Content-Type: image/png\r\n\r\n\r\n--cu\x00\xff\r\n\r\n"
)
END = b"--cut--\r\n"


def test_parts_arrive_byte_by_byte() -> None:
    number, file = parse_multipart(KIND, FIELD + FILE + END)

    assert (number.name, number.filename, number.data) == ("n", None, b"2")
    assert (file.filename, file.content_type) == ('a; "b" 100%25.bin', "image/png")
    assert file.data == b"\r\n--cu\x00\xff\r\n"
    assert file.as_json()["sha256"] == sha256(file.data).hexdigest()
    assert file.as_json()["bytes"] == 10


def test_fields_are_as_json_would_bring_them() -> None:
    stream = FIELD.replace(b'"n"', b'"stream"').replace(b"2", b"true")
    text = FIELD.replace(b'"n"', b'"prompt"')

    form = read_multipart(KIND, FIELD + stream + text + text + FILE + END)

    assert form.fields == {"n": 2, "stream": True, "prompt": "2"}
    assert form.all("prompt") == ["2", "2"]
    assert [part.name for part in form.files("file", "n")] == ["file"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", FIELD + END),
        ("multipart/mixed; boundary=cut", FIELD + END),
        ("multipart/form-data; boundary=" + "x" * 71, FIELD + END),
        (KIND, b""),
        (KIND, END),
        (KIND, FIELD),
        (KIND, b"preamble\r\n" + FIELD + END),
        (KIND, FIELD + END + b"epilogue"),
        (KIND, FIELD.replace(b"\r\n\r\n", b"\r\n") + END),
        (KIND, FIELD.replace(b"form-data", b"attachment") + END),
        (KIND, FIELD.replace(b"name=", b"title=") + END),
        (KIND, FIELD.replace(b'name="n"', b"name=n") + END),
        (KIND, FIELD.replace(b'name="n"', b'name="n"; name="m"') + END),
        (KIND, FIELD.replace(b"\r\n\r\n", b"\r\nnonsense\r\n\r\n") + END),
        (KIND, FIELD.replace(b"2", b"\xff") + END),
    ],
)
def test_a_form_that_is_not_well_formed_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_multipart(kind, body)

    assert refused.value.status == 400


def test_json_must_be_an_object() -> None:
    assert read_json(b'{"a":1}').fields == {"a": 1}
    with pytest.raises(Refused):
        read_json(b"[]")
