"""Pure: what CORS_ORIGINS may say, and how browsers write an origin (RFC 6454, section 6.2)."""

import re

ANY = "*"
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def split(value: str) -> list[str]:
    """The origins that a setting lists."""
    return [origin for part in value.split(",") if (origin := part.strip())]


def checked(value: str) -> str:
    """The setting as browsers write its origins. Raises ValueError for what no browser sends."""
    origins = [origin.lower() for origin in split(value)]
    if origins == [ANY]:
        return ANY
    for origin in origins:
        _check(origin)
    return ",".join(origins)


def _check(origin: str) -> None:
    if origin == ANY:
        raise ValueError("* allows every origin and stands alone")
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        raise ValueError("must be origins, scheme://host or scheme://host:port, without a path")
    scheme, _, port = found.groups()
    if port is None:
        return
    if not 0 < int(port) <= 65_535 or port.startswith("0"):
        raise ValueError("must have ports from 1 to 65535")
    if port == _DEFAULT_PORTS.get(scheme):
        raise ValueError("must leave out a scheme's own port, as browsers do")
