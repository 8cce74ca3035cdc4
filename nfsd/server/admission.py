"""Whether one more connection is taken: from whom, and how many there are. One instance a server, whoever serves."""

from __future__ import annotations

from nfsd.limits import CONNECTIONS_PER_ADDRESS_MAX
from nfsd.server.access import AccessRule


class Admission:
    """Counts open connections; `opened` and `closed` come in pairs."""

    def __init__(self, access: AccessRule, connections_max: int) -> None:
        self._access = access
        self._connections_max = connections_max
        self._per_host: dict[str, int] = {}
        self.connections = 0

    def refusal(self, host: str, port: int) -> str | None:
        """Why this peer gets no connection now, for the log; None: he gets one."""
        if self.connections >= self._connections_max:
            return f"{self._connections_max} connections are open, which is the limit"
        if self._per_host.get(host, 0) >= CONNECTIONS_PER_ADDRESS_MAX:
            return f"{CONNECTIONS_PER_ADDRESS_MAX} connections from this address are open, which is the limit"
        return self._access.refusal(host, port)

    def opened(self, host: str) -> None:
        self.connections += 1
        self._per_host[host] = self._per_host.get(host, 0) + 1

    def closed(self, host: str) -> None:
        self.connections -= 1
        left = self._per_host[host] - 1
        if left:
            self._per_host[host] = left
        else:
            del self._per_host[host]
