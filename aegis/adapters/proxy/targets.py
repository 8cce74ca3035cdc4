"""What a request to a forward proxy asks for: RFC 9112 section 3.2, the absolute form and the authority form.

The rule to know: a target is read by this grammar and no other, and what is odd in it (user and password, another
scheme, a fragment, percent signs in the host) is refused, because the next program on the way may read it otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HOST = r"(?P<host>[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])"
_AUTHORITY = re.compile(rf"{_HOST}:(?P<port>[0-9]{{1,5}})")
_ABSOLUTE = re.compile(
    rf"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^/?#@]*@)?{_HOST}(?::(?P<port>[0-9]{{0,5}}))?(?P<rest>[/?][^#]*)?"
)


class BadTarget(ValueError):
    """What the request is for cannot be had through this proxy; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    host: str  # as it was written, without brackets
    port: int
    path: bytes = b""  # the origin form, for a server; empty with CONNECT

    @property
    def authority(self) -> str:
        """The value of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"


def connect_target(target: bytes) -> Target:
    """Of a CONNECT request: HOST:PORT and nothing else."""
    match = _AUTHORITY.fullmatch(target.decode("latin-1"))
    if match is None:
        raise BadTarget("CONNECT takes HOST:PORT")
    return Target(match["host"].strip("[]"), _port(match["port"]))


def absolute_target(method: bytes, target: bytes) -> Target:
    """Of any other request: a whole http:// URL."""
    text = target.decode("latin-1")
    if text.startswith("/") or text == "*":
        raise BadTarget("this is a forward proxy and no web server: ask it for a whole URL")
    match = _ABSOLUTE.fullmatch(text)
    if match is None:
        raise BadTarget("the URL cannot be read with certainty: http://HOST[:PORT]/PATH is wanted, without a fragment")
    if match["user"] is not None:
        raise BadTarget("a URL with a user or password in it is not passed on; send an Authorization header")
    scheme = match["scheme"].lower()
    if scheme != "http":
        raise BadTarget(f"{scheme}:// is not asked for by URL here; https goes through CONNECT")
    rest = match["rest"] or ("*" if method == b"OPTIONS" else "/")
    path = f"/{rest}" if rest.startswith("?") else rest
    return Target(match["host"].strip("[]"), _port(match["port"] or "80"), path.encode("latin-1"))


def _port(digits: str) -> int:
    if not 0 < (number := int(digits)) < 65536:
        raise BadTarget(f"{digits} is no port")
    return number
