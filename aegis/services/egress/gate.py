"""The node's gate: one session for each iteration under way, found by the credentials that its container was given.

Credentials are the execution's id and a key made from it and the node's secret, so a restarted daemon knows them again
and nothing is stored. They open the way out of that one execution and nothing else; that commands in the container can
read them is no loss, since the way out is theirs.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aegis.domain.execution import Execution
from aegis.domain.manifest import NetworkMode
from aegis.domain.own_keys import own_key
from aegis.errors import Conflict
from aegis.ports import Clock
from aegis.services.egress.ledger import Ledger, Put
from aegis.services.egress.session import EgressSession, Rules, Totals
from aegis.services.recorder import Journal

TELL_SECONDS: Final = 5.0
DIRECT: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    rules: Rules
    secret: bytes
    put: Put  # takes events at once or raises WorldError
    drained: Callable[[], Awaitable[None]]  # returns when what was put is stored


class EgressGate:
    """`run` is the task that tells what has gathered."""

    def __init__(self, settings: EgressSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._sessions: dict[str, EgressSession] = {}
        self.totals = Totals()

    @asynccontextmanager
    async def session(self, execution: Execution, journal: Journal) -> AsyncIterator[EgressSession]:
        """The execution's way out is open inside the block; after it every connection is cut and every event stored."""
        if execution.id in self._sessions:
            raise Conflict(f"Execution {execution.id} has an iteration under way already")
        ledger = Ledger(journal.event, self._settings.put, self._clock.monotonic)
        session = EgressSession(execution, self._settings.rules, ledger, self.totals)
        self._sessions[execution.id] = session
        try:
            yield session
        finally:
            del self._sessions[execution.id]
            session.close()
            await self._settings.drained()

    def of(self, execution_id: str) -> EgressSession:
        """The session of an iteration under way. Conflict when there is none."""
        session = self._sessions.get(execution_id)
        if session is None:
            raise Conflict(f"Execution {execution_id} has no iteration under way")
        return session

    def refusals(self, execution_id: str) -> list[str]:
        """See `EgressSession.refusals`; nothing when no iteration is under way."""
        session = self._sessions.get(execution_id)
        return session.refusals() if session is not None else []

    def identify(self, user: str, key: str) -> EgressSession | None:
        """Whose way out these credentials open; None: nobody's, now."""
        right = hmac.compare_digest(self.key(user).encode(), key.encode("utf-8", "surrogateescape"))
        session = self._sessions.get(user) if right else None
        if session is None:
            self.totals.unauthorized += 1
        return session

    def key(self, execution_id: str) -> str:
        return own_key(self._settings.secret, "egress", execution_id)

    def environment(self, execution: Execution, proxy: str, *direct: str) -> Mapping[str, str]:
        """What tells programs of the proxy at `proxy` (HOST:PORT); nothing where there is nowhere to go. Both cases of
        each name: curl reads http_proxy only in small letters, others only in capitals. `direct`: URLs not to be asked
        for there, such as the dispatch channel's."""
        if execution.manifest.security.network.mode is NetworkMode.NONE:
            return {}
        url = f"http://{execution.id}:{self.key(execution.id)}@{proxy}"
        hosts = ",".join([*DIRECT, *filter(None, (urlsplit(each).hostname for each in direct))])
        names = {"http_proxy": url, "https_proxy": url, "no_proxy": hosts}
        return {**names, **{name.upper(): value for name, value in names.items()}}

    @property
    def routes(self) -> int:
        """Open now, of all."""
        return sum(len(session.routes) for session in self._sessions.values())

    async def run(self) -> None:
        """Tell from time to time what has gathered. The caller owns and cancels the task."""
        while True:
            await self._clock.sleep(TELL_SECONDS)
            for session in list(self._sessions.values()):
                session.tell()
                await asyncio.sleep(0)
