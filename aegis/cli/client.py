"""The API over HTTP, with nothing but the standard library: a command line is started often and should be there at
once.

Proxies of the environment are not used: the daemon is on this host or named on purpose. A cut event stream is taken up
again after the last event seen.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from aegis.cli.failures import CommandFailed, Exit, from_problem

DEFAULT_URL = "http://127.0.0.1:8080"
TOKEN_FILE_NAME = "api-token"  # noqa: S105 - a file's name
ANSWER_SECONDS = 60.0
TRANSFER_SECONDS = 3600.0  # for one piece of a bundle: images may have to be pulled before the first
PIECE_BYTES = 1 << 20
SILENCE_SECONDS = 45.0  # the daemon beats every 15 s on an idle stream
RECONNECTS_MAX = 30  # in a row without a single event; about a minute: a restart of the daemon
RECONNECT_SECONDS = 2.0
LINE_BYTES_MAX = 16 * 1024 * 1024
DOCUMENT_BYTES_MAX = 256 * 1024 * 1024

EXECUTION_ENDED = ("execution.completed", "execution.failed", "execution.cancelled")


def state_directories() -> list[Path]:
    """Where a daemon of this user, or the host's, keeps its state; the first is where ours would."""
    found = [Path(text) for text in os.environ.get("STATE_DIRECTORY", "").split(":") if text]
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return [*found, Path(home) / "aegis", Path("/var/lib/aegis")]


def find_token() -> str:
    """AEGIS_API_TOKEN, else the first token file this user can read; "" when there is none: the daemon will say so."""
    if token := os.environ.get("AEGIS_API_TOKEN", "").strip():
        return token
    named = os.environ.get("AEGIS_API_TOKEN_FILE")
    candidates = [Path(named)] if named else [directory / TOKEN_FILE_NAME for directory in state_directories()]
    for path in candidates:
        try:
            return path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""


class Client:
    """One daemon. Every call raises CommandFailed, with the exit code that fits."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get("AEGIS_API_URL") or DEFAULT_URL).rstrip("/")
        parts = urlsplit(self.url)
        try:
            self._port = parts.port
        except ValueError:
            self._port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or self._port == -1:
            raise CommandFailed(f"{self.url!r} is no address, wanted http://HOST:PORT", exit_code=Exit.USAGE)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname
        self._prefix = parts.path
        self._token = find_token() if token is None else token

    # ---- calls ----

    def get(self, path: str, **query: Any) -> Any:
        return json.loads(self.call("GET", _with_query(path, query)))

    def post(self, path: str, document: Any) -> Any:
        return json.loads(self.call("POST", path, json.dumps(document).encode()))

    def delete(self, path: str, **query: Any) -> None:
        self.call("DELETE", _with_query(path, query))

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> bytes:
        """The answer's body, when it was a success."""
        connection = self._connection(ANSWER_SECONDS)
        try:
            response = self._send(connection, method, path, body, {"Content-Type": content_type} if body else {})
            answer = response.read(DOCUMENT_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise from_problem(response.status, _problem(answer))
        return answer

    @contextmanager
    def download(self, path: str, document: Any) -> Iterator[Iterator[bytes]]:
        """The answer to a POST, piece by piece. Reading to the end without CommandFailed means it is whole."""
        connection = self._connection(TRANSFER_SECONDS)
        try:
            headers = {"Content-Type": "application/json"}
            response = self._send(connection, "POST", path, json.dumps(document).encode(), headers)
            if response.status >= 400:
                raise from_problem(response.status, _problem(response.read(DOCUMENT_BYTES_MAX)))
            yield self._pieces(response)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while piece := response.read(PIECE_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(
                f"The daemon at {self.url} broke off what it was sending: {error or type(error).__name__}",
                next_step="Its log says why: `journalctl -u aegis`, or daemon.log in the state directory",
            ) from error

    def upload(self, method: str, path: str, pieces: Iterator[bytes], size: int, content_type: str) -> bytes:
        """Send `size` bytes, piece by piece; the answer's body when it was a success."""
        connection = self._connection(TRANSFER_SECONDS)
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        try:
            response = self._send(connection, method, path, pieces, headers)
            answer = response.read(DOCUMENT_BYTES_MAX)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise from_problem(response.status, _problem(answer))
        return answer

    def status_of(self, path: str) -> tuple[int, bytes]:
        """For health: any status is an answer."""
        connection = self._connection(ANSWER_SECONDS)
        try:
            response = self._send(connection, "GET", path, None, {})
            return response.status, response.read(DOCUMENT_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def follow(self, execution_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Events until the execution's final one; a cut or a restart of the daemon in between is bridged."""
        path = f"/v1/executions/{quote(execution_id)}"
        failures = 0
        while True:
            cause: Exception = ConnectionError("the event stream keeps ending")
            try:
                for event in self._stream(f"{path}/stream", after):
                    failures, after = 0, int(event["sequence"])
                    yield event
                    if event["kind"] in EXECUTION_ENDED:
                        return
                if self.get(path)["state"] not in ("pending", "running"):
                    return
            except (OSError, http.client.HTTPException) as error:
                cause = error
            except CommandFailed as failure:
                if failure.exit_code not in (Exit.UNREACHABLE, Exit.FAILED):  # refused: asking again changes nothing
                    raise
                cause = failure
            failures += 1
            if failures > RECONNECTS_MAX:
                raise self._unreachable(cause)
            time.sleep(RECONNECT_SECONDS)

    def _stream(self, path: str, after: int) -> Iterator[dict[str, Any]]:
        connection = self._connection(SILENCE_SECONDS)
        try:
            response = self._send(connection, "GET", path, None, {"Last-Event-ID": str(after)})
            if response.status >= 400:
                raise from_problem(response.status, _problem(response.read(DOCUMENT_BYTES_MAX)))
            while line := response.readline(LINE_BYTES_MAX):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        finally:
            connection.close()

    # ---- connections ----

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        authorization = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection.request(method, self._prefix + path, body, {**authorization, **headers, "Connection": "close"})
        return connection.getresponse()

    def _unreachable(self, error: Exception) -> CommandFailed:
        return CommandFailed(
            f"The daemon does not answer at {self.url}: {error or type(error).__name__}",
            exit_code=Exit.UNREACHABLE,
            next_step="Start it with `aegis daemon start` (a service: `sudo systemctl start aegis`),"
            " or say where it is with AEGIS_API_URL",
        )


def _with_query(path: str, query: dict[str, Any]) -> str:
    given = {key: value for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _problem(answer: bytes) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    return {"code": "unreadable", "detail": f"Something else than the daemon answered: {answer[:120]!r}"}
