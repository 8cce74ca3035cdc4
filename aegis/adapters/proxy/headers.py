"""Headers on their way through: what is between us and one side stays there (RFC 9110 section 7.6.1).

The rule to know: how long a body is, is said by h11 anew on each side, from one reading of it. So the two sides cannot
see two different requests in the same bytes, which is what request smuggling is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"proxy-authentication-info", b"te", b"trailer", b"upgrade", b"http2-settings"),
    }
)
_NEVER_NAMED = frozenset({b"content-length", b"transfer-encoding", b"host"})  # framing and routing are not the peer's
VIA = (b"Via", b"1.1 aegis")


def passed_on(headers: Iterable[tuple[bytes, bytes]], *, drop: Iterable[bytes] = ()) -> Headers:
    """Without those of one hop, those that `Connection` names, and `drop`."""
    listed = list(headers)
    named = {
        each.strip().lower() for name, value in listed if name.lower() == b"connection" for each in value.split(b",")
    }
    unwanted = _HOP_BY_HOP | (named - _NEVER_NAMED) | set(drop)
    return [(name, value) for name, value in listed if name.lower() not in unwanted]


def ambiguous_length(headers: Iterable[tuple[bytes, bytes]], http_version: bytes) -> str:
    """Why it cannot be said where the body ends (RFC 9112 section 6.1: such a request may be refused); "" if it can."""
    names = [name.lower() for name, _ in headers]
    if b"transfer-encoding" in names and b"content-length" in names:
        return "both Content-Length and Transfer-Encoding are given"
    if b"transfer-encoding" in names and http_version < b"1.1":
        return "Transfer-Encoding is not HTTP/1.0"
    return ""


def basic_credentials(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """User and password of `Proxy-Authorization: Basic` (RFC 7617); None: none, several, or not to be read."""
    found = [value for name, value in headers if name.lower() == b"proxy-authorization"]
    scheme, _, encoded = found[0].partition(b" ") if len(found) == 1 else (b"", b"", b"")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None
