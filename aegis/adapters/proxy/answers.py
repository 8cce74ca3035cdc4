"""The proxy's own words: what an agent reads when it does not get what it asked for.

The rule to know: everything an agent needs is in the text, and the most of it in the reason phrase as well, because of
an answer to CONNECT most programs show that line and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import h11

from aegis.errors import AegisError

REASON_CHARACTERS_MAX = 300

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    reason: bytes
    text: str
    headers: tuple[Header, ...] = ()
    is_last: bool = False  # the connection is not used again


def answer_to(error: AegisError) -> Answer:
    text = f"aegis: {error}\n"
    headers = ((b"X-Aegis-Code", error.code.encode()),)
    return Answer(error.status, _reason(f"{HTTPStatus(error.status).phrase} by aegis - {error.message}"), text, headers)


def bad_request(why: str) -> Answer:
    return Answer(400, _reason(f"Bad Request - {why}"), f"aegis: {why}\n", is_last=True)


def unreadable(error: h11.RemoteProtocolError) -> Answer:
    """What h11 does not read is nothing we pass on."""
    status = error.error_status_hint if 400 <= error.error_status_hint < 600 else 400
    return Answer(
        status, _reason(f"{HTTPStatus(status).phrase} - {error}"), f"aegis: the request is no HTTP: {error}\n"
    )


def too_long(bytes_max: int) -> Answer:
    why = f"the request's headers have more than {bytes_max} bytes"
    return Answer(431, _reason(f"Request Header Fields Too Large - {why}"), f"aegis: {why}\n", is_last=True)


def needs_credentials(*, given: bool) -> Answer:
    why = (
        "these credentials open no way out: they are not of an execution that runs now"
        if given
        else "this proxy wants the credentials that are in HTTP_PROXY of the agent's container"
    )
    challenge = (b"Proxy-Authenticate", b'Basic realm="aegis", charset="UTF-8"')
    return Answer(407, _reason(f"Proxy Authentication Required - {why}"), f"aegis: {why}\n", (challenge,))


def _reason(text: str) -> bytes:
    """One line of printable ASCII, and not a long one: some clients keep no more of it."""
    return re.sub(r"[^ -~]", "?", text)[:REASON_CHARACTERS_MAX].encode("ascii")
