"""sd_notify(3): telling systemd that we are ready, alive and stopping.

The protocol is one datagram of `KEY=value` lines to the socket in `NOTIFY_SOCKET`; the usual package for it is not
maintained. Without that variable (no systemd) every call does nothing, and no failure here ever stops the daemon.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """`environ` is read once: the variables are ours, not our children's, so the caller may drop them afterwards."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the abstract namespace, whose names begin with a NUL byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environ)

    def ready(self, status: str = "") -> None:
        self._send("READY=1", status)

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """One line, shown by `systemctl status`."""
        self._send("", text)

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Asks for more time to start or stop: systemd kills what is late."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    async def run_watchdog(self) -> None:
        """Until cancelled: reports life from the event loop, so that a loop that is stuck falls silent. Returns at once
        when systemd does not watch. A third of the limit: one late turn is no restart."""
        if self.watchdog_seconds is None:
            return
        while True:
            self.alive()
            await asyncio.sleep(self.watchdog_seconds / 3)

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagram:
                datagram.setblocking(False)
                datagram.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd was not told %s: %s", lines[:1], error)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The limit, when it is meant for this process (`WATCHDOG_PID`)."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdigit() or int(text) == 0 or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 1_000_000
