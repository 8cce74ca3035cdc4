"""What commands in a container attest with: a token of the node's, for one iteration and for attesting alone.

The execution's dispatch token is not theirs to have: who holds it can answer dispatches in bootstrap's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aegis.domain.execution import Execution
from aegis.errors import Unauthorized
from aegis.ids import new_id
from aegis.ports import Clock, Signer

MARGIN_SECONDS: Final = 3600.0  # beyond an iteration's own time, which begins before its first command does
VARIABLE: Final = "AEGIS_SMCP_TOKEN"
_PURPOSE: Final = "smcp-attest+jwt"


class AttestTokens:
    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock

    def environment(self, execution: Execution, iteration: int) -> Mapping[str, str]:
        """What is added to a command's environment; nothing unless the manifest allows it."""
        if not execution.manifest.security.smcp:
            return {}
        now = int(self._clock.now().timestamp())
        claims = {
            "sub": execution.id,
            "wid": workload(execution.id, iteration),
            "iat": now,
            "exp": now + int(execution.manifest.resources.timeout_seconds + MARGIN_SECONDS),
            "jti": new_id(),
        }
        return {VARIABLE: self._signer.issue(_PURPOSE, claims)}

    def accepts(self, token: str, execution_id: str, iteration: int) -> bool:
        """Whether this is such a token of that iteration."""
        try:
            claims = self._signer.claims(_PURPOSE, token)
        except Unauthorized:
            return False
        return bool(claims["sub"] == execution_id and claims["wid"] == workload(execution_id, iteration))


def workload(execution_id: str, iteration: int) -> str:
    """The `wid` of a token: which execution's container, of which iteration."""
    return f"{execution_id}/{iteration}"
