"""The way to the engine: two bounded connection pools, a deadline for every call, and the translation of every failure.

Docker Engine API, https://docs.docker.com/reference/api/engine/ (1.41 and later; the version is negotiated).
The rule to know: nothing of aiodocker or aiohttp leaves this module but return values. A failure is one of
- `EngineRefused`: the engine answered with an error status; nobody is in doubt about what was done,
- `ReplyLost`: the request was sent and no answer came; the work may or may not have been done,
- `DockerUnavailable` (and neither of the above): the request never arrived.
Callers turn the first into what it means for their object and make the second harmless by looking or by repeating.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import aiodocker
import aiohttp

from aegis.errors import ContainerFailed, DockerUnavailable, Refused

T = TypeVar("T")

CALL_SECONDS = 30.0
CALLS_MAX = 64  # short calls at once; more wait their turn within their own deadlines
STREAMS_MAX = 1024  # waits, logs and pulls: one connection each for as long as they last, so apart from the calls
_UNIX = "unix://"


class EngineRefused(ContainerFailed):
    """The engine said no. `status` is HTTP's (0: an error inside a 200 stream), `text` the engine's own words.

    It is a `ContainerFailed`, so that a refusal nobody foresaw still reaches the operator as a readable error."""

    def __init__(self, action: str, status: int, text: str) -> None:
        super().__init__(f"Docker refused to {action}: {text.strip()}", retryable=status >= 500)
        self.http_status = status
        self.text = text.strip()


class ReplyLost(DockerUnavailable):
    """The engine got the request and its answer did not arrive. `timed_out`: it may still be working on it."""

    def __init__(self, message: str, *, timed_out: bool, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.timed_out = timed_out


class Connection:
    """Both pools open at the first use (a session needs the running event loop) and close with `close()`.

    `url`: a socket's path, `unix://PATH`, `tcp://HOST:PORT`, or `https://HOST:PORT` with `ssl_context`."""

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        call_seconds: float = CALL_SECONDS,
        calls_max: int = CALLS_MAX,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        self.where, self._base_url = _endpoint(url)
        self.call_seconds = call_seconds
        self._ssl_context = ssl_context
        self._limits = {"calls": calls_max, "streams": streams_max}
        self._clients: dict[str, aiodocker.Docker] = {}
        self._closed = False

    async def call(
        self, action: str, request: Callable[[aiodocker.Docker], Awaitable[T]], *, seconds: float | None = None
    ) -> T:
        """One request and its answer. `action` completes "Docker refused to ..." in messages."""
        return await self._answered(action, request(self._client("calls")), seconds or self.call_seconds)

    async def call_again(
        self, action: str, request: Callable[[aiodocker.Docker], Awaitable[T]], *, seconds: float | None = None
    ) -> T:
        """`call` for what may be done twice: repeated once when the connection broke before the answer.

        Docker restarting closes the connections we keep open; the first request on each of them ends so."""
        try:
            return await self.call(action, request, seconds=seconds)
        except ReplyLost as lost:
            if lost.timed_out:
                raise
            return await self.call(action, request, seconds=seconds)

    async def long_call(self, action: str, request: Callable[[aiodocker.Docker], Awaitable[T]], *, seconds: float) -> T:
        """`call` from the pool of the long-lived ones, so that waiting for a container keeps nobody from its end."""
        return await self._answered(action, request(self._client("streams")), seconds)

    @asynccontextmanager
    async def stream(
        self,
        action: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | bool],
        headers: Mapping[str, str | int | bool] | None = None,
        data: AsyncIterator[bytes] | None = None,
        seconds: float | None = None,
    ) -> AsyncIterator[Stream]:
        """An answer that goes on; `seconds` until it begins, with all of `data` sent by then. The one place that
        uses aiodocker's own query: its `pull` takes a broken connection for the end of a pull, and its `log` forgets
        which of the two streams a line came from (0.27)."""
        docker = self._client("streams")
        request = docker._do_query(path, method, params=params, headers=headers, data=data)
        response = await self._answered(action, request, seconds or self.call_seconds)
        try:
            yield Stream(self, action, response)
        finally:
            response.close()

    async def close(self) -> None:
        """Safe to repeat; a call after it is our own mistake."""
        self._closed = True
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()
            await client.connector.close()

    async def _answered(self, action: str, request: Awaitable[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await request
        except TimeoutError as error:
            raise ReplyLost(
                f"Docker at {self.where} did not answer within {seconds:g} s when asked to {action}",
                timed_out=True,
                next_step="See `journalctl -u docker` and the load of the host",
            ) from error
        except aiodocker.DockerError as error:
            if error.status == 900:  # aiodocker's own number for "no connection"; the reason is in the context
                raise self._unreachable(action, error.__context__) from error
            raise EngineRefused(action, error.status, _text(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(action, error) from error
        except (ValueError, KeyError, TypeError) as error:  # what aiodocker raises on a body that is not Docker's
            raise DockerUnavailable(
                f"What answers at {self.where} is not a Docker Engine ({type(error).__name__}: {error})",
                next_step="Set runtime.docker_socket_path to Docker's socket",
            ) from error

    def _unreachable(self, action: str, error: BaseException | None) -> DockerUnavailable:
        if not isinstance(error, aiohttp.ClientConnectorError):
            return ReplyLost(
                f"The connection to Docker at {self.where} broke when it was asked to {action} ({error!r})",
                timed_out=False,
            )
        match error.os_error:
            case FileNotFoundError():
                return DockerUnavailable(
                    f"There is no socket at {self.where}: is Docker running?", next_step="Run `systemctl start docker`"
                )
            case PermissionError():
                user = _user_name()
                return DockerUnavailable(
                    f"User {user or os.getuid()} may not use Docker's socket {self.where}",
                    next_step="Add the user to group docker: "
                    f"`sudo usermod -aG docker {user or '$USER'}`, then log in again (a service: restart it)",
                )
            case ConnectionRefusedError():
                return DockerUnavailable(
                    f"Nothing listens on {self.where}: Docker is stopped or starting",
                    next_step="Run `systemctl start docker`, then `docker info`",
                )
            case reason:
                return DockerUnavailable(f"Docker at {self.where} cannot be reached ({reason.strerror or reason})")

    def _client(self, pool: str) -> aiodocker.Docker:
        assert not self._closed, "the engine's connection was closed"
        client = self._clients.get(pool)
        if client is None:
            connector = self._connector(self._limits[pool])
            client = self._clients[pool] = aiodocker.Docker(url=self._base_url, connector=connector)
        return client

    def _connector(self, limit: int) -> aiohttp.BaseConnector:
        if self.where.startswith("/"):
            return aiohttp.UnixConnector(path=self.where, limit=limit)
        if self._ssl_context is not None:
            return aiohttp.TCPConnector(limit=limit, ssl=self._ssl_context)
        return aiohttp.TCPConnector(limit=limit)


class Stream:
    """The body of one answer. Every read has a deadline, if one is given, and fails as a call does."""

    def __init__(self, connection: Connection, action: str, response: aiohttp.ClientResponse) -> None:
        self._connection = connection
        self._action = action
        self._content = response.content

    async def line(self, *, seconds: float) -> bytes:
        """The next line with its end; empty: the engine ended the answer. A line over 128 KiB is a failure."""
        return await self._connection._answered(self._action, self._content.readline(), seconds)

    async def exactly(self, size: int, *, seconds: float | None = None) -> bytes:
        """`size` bytes; fewer only where the engine ended the answer."""
        try:
            reading = self._content.readexactly(size)
            return await self._connection._answered(self._action, reading, seconds or NO_DEADLINE_SECONDS)
        except asyncio.IncompleteReadError as error:
            return error.partial


NO_DEADLINE_SECONDS = 7 * 86_400.0  # for following a container's log: it may be silent for as long as it lives


def _endpoint(url: str) -> tuple[str, str]:
    """(what to call it in messages; the base URL for aiodocker). With a path the first is the socket's path."""
    if url.startswith(_UNIX):
        url = url.removeprefix(_UNIX)
    if url.startswith("/"):
        return url, "http://localhost"
    if url.startswith("tcp://"):
        return url, url.replace("tcp://", "http://", 1).rstrip("/")
    if url.startswith(("http://", "https://")):
        return url, url.rstrip("/")
    raise Refused(
        f"Docker's address {url!r} is neither a socket's path nor unix://PATH, tcp://HOST:PORT or https://HOST:PORT",
        next_step="Set runtime.docker_socket_path, usually to /var/run/docker.sock",
    )


def _text(error: aiodocker.DockerError) -> str:
    """aiodocker unpacks `{"message": ...}` only where the content type has no charset; proxies may add one."""
    text = str(error.message)
    if text.startswith("{"):
        try:
            return str(json.loads(text)["message"])
        except (ValueError, KeyError):
            pass
    return text


def _user_name() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a passwd entry, as in containers
        return None
