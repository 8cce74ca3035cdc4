"""Keys that the daemon gives to containers, in a form by which they are known wherever they are met.

An agent that prints its environment prints its proxy's key with it: what looks like one is blanked out of all that is
stored and told, without anybody having to remember which were given.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

PREFIX: Final = "aegis-key-"
DIGITS: Final = 40  # 160 bits, hexadecimal
PATTERN: Final = re.compile(rf"{PREFIX}[0-9a-f]{{{DIGITS}}}")


def own_key(secret: bytes, purpose: str, name: str) -> str:
    """The same for the same three; nobody without the secret can say it."""
    message = f"aegis {purpose}\0".encode() + name.encode("utf-8", "surrogateescape")
    return PREFIX + hmac.new(secret, message, hashlib.sha256).hexdigest()[:DIGITS]
