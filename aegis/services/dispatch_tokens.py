"""The token of an execution's containers, made from its id and the node's secret.

So a daemon that starts again knows it again, and nothing but its digest is stored.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256

TokenOf = Callable[[str], str]
"""An execution's id -> its dispatch token, always the same."""


def dispatch_tokens(secret: bytes) -> TokenOf:
    def token_of(execution_id: str) -> str:
        message = b"aegis dispatch\0" + execution_id.encode()
        return urlsafe_b64encode(hmac.new(secret, message, sha256).digest()).rstrip(b"=").decode("ascii")

    return token_of
