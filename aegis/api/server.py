"""An application on an address: starts, says plainly why it cannot, and stops by letting requests end."""

from __future__ import annotations

import errno

from aiohttp import web

from aegis.errors import WorldError

DRAIN_SECONDS = 5.0  # open event streams would otherwise hold a stop for ever
KEEPALIVE_SECONDS = 75.0
LINGER_SECONDS = 1.0  # a refused body is thrown away for so long, that the peer may see the answer before the cut


class AddressUnavailable(WorldError):
    """The address cannot be listened on: taken, not ours, or a port that needs a privilege."""

    code = "address_unavailable"
    retryable = False


class ApiServer:
    """Owns a listener. `close()` may be called at any time, more than once."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=DRAIN_SECONDS,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
        )

    async def start(self) -> None:
        """Listening when it returns; `port` is then the real one (0 asks for any). AddressUnavailable."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port, backlog=512).start()
        except OSError as error:
            await self._runner.cleanup()
            raise AddressUnavailable(
                f"The API cannot listen on {self.host}:{self.port}: {error.strerror or error}",
                next_step=_next_step(error, self.port),
            ) from error
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self._runner.cleanup()


def _next_step(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Find who has it (`ss -ltnp 'sport = :{port}'`), or set another api.listen"
    if error.errno == errno.EADDRNOTAVAIL:
        return "The address is not one of this host's (`ip address`); set another api.listen"
    if error.errno == errno.EACCES:
        return f"Port {port} needs a privilege; take one above 1023"
    return ""
