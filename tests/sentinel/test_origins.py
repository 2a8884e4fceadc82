"""What CORS_ORIGINS may say."""

import pytest

from sentinel.origins import checked, split


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("", ""),
        (" , ", ""),
        ("*", "*"),
        (" * ", "*"),
        ("https://app.example.com", "https://app.example.com"),
        ("https://App.Example.com , http://localhost:5173", "https://app.example.com,http://localhost:5173"),
        ("http://[::1]:3000,http://127.0.0.1:3000", "http://[::1]:3000,http://127.0.0.1:3000"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("https://a.example:80", "https://a.example:80"),
    ],
)
def test_origins_are_kept_as_browsers_write_them(value: str, kept: str) -> None:
    assert checked(value) == kept
    assert ",".join(split(kept)) == kept


@pytest.mark.parametrize(
    "value",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://*.example.com",
        "https://user@app.example.com",
        "https://app.example.com?x",
        "https://",
        "null",
        "*,https://app.example.com",
        "https://a.example:0",
        "https://a.example:080",
        "https://a.example:65536",
        "https://a.example:443",
        "http://a.example:80",
        "https://a.example https://b.example",
        "https://a.example\r\nset-cookie: a",
    ],
)
def test_what_no_browser_sends_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"must|stands alone"):
        checked(value)
