"""SMCP's messages (docs/smcp.md): what is signed, and how keys and signatures are written. No cryptography here."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from aegis.domain.canonical import canonical_json

PROTOCOL: Final = "smcp/v1"
SKEW_SECONDS: Final = 30  # a timestamp may be so far from our clock, either way
KEY_BYTES: Final = 32  # Ed25519, RFC 8032 section 5.1.5
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Attestation:
    """A process in the container shows the key it will sign with, and that it has its private half."""

    execution_id: str
    iteration_number: int
    public_key: str
    timestamp: int
    signature: str

    def signed(self) -> bytes:
        return canonical_json(
            {
                "execution_id": self.execution_id,
                "iteration_number": self.iteration_number,
                "protocol": PROTOCOL,
                "public_key": self.public_key,
                "timestamp": self.timestamp,
            }
        )


@dataclass(frozen=True, slots=True)
class Envelope:
    """One request. `payload` is a JSON-RPC request; its `id` makes two of the same second different."""

    security_token: str
    timestamp: int
    payload: dict[str, Any]
    signature: str

    def signed(self) -> bytes:
        """ValueError: the payload has no canonical form."""
        return canonical_json({"payload": self.payload, "timestamp": self.timestamp})


def encode_bytes(data: bytes) -> str:
    """Base64 with the URL's alphabet and no padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_bytes(text: str, length: int) -> bytes:
    """ValueError unless it is the only way to write so many bytes: the last character's spare bits are zero."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError(f"no base64url: {error}") from None
    if len(data) != length or encode_bytes(data) != text:
        raise ValueError(f"not {length} bytes as base64url without padding")
    return data
