"""The token of an execution's containers, made from its id and the node's secret.

So a daemon that starts again knows it again, and nothing but its digest is stored. It is one of our own keys: an agent
that reads it from its first process and prints it does not get it stored.
"""

from __future__ import annotations

from collections.abc import Callable

from aegis.domain.own_keys import own_key

TokenOf = Callable[[str], str]
"""An execution's id -> its dispatch token, always the same."""


def dispatch_tokens(secret: bytes) -> TokenOf:
    """`secret`: the node's."""
    return lambda execution_id: own_key(secret, "dispatch", execution_id)
