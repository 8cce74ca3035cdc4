"""OpenBao's HTTP API as far as the daemon uses it, answered as its documentation has it: AppRole login, tokens that
end, renewal up to a maximum, KV version 2 with deleted versions, namespaces, a seal.

No package of Debian, PyPI or npm brings a server to test against. What stands here is the API's documentation:
https://openbao.org/api-docs/
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROLE_ID = "11111111-aaaa-bbbb-cccc-000000000001"
SECRET_ID = "22222222-aaaa-bbbb-cccc-000000000002"
DENIED = "1 error occurred:\n\t* permission denied\n\n"


class Store:
    """`secrets`: by path, None where the latest version is deleted. Time stands still until a test moves `now`."""

    def __init__(self, secrets: dict[str, dict[str, Any] | None]) -> None:
        self.secrets = secrets
        self.mount, self.approle_mount = "secret", "approle"
        self.namespace: str | None = None
        self.now = 0.0
        self.lease_seconds, self.max_seconds = 60.0, 150.0
        self.renewable = True
        self.denied: set[str] = set()
        self.sealed = self.silent = False
        self.tokens: dict[str, tuple[float, float]] = {}  # token -> when made, when it ends
        self.calls: list[str] = []
        self.released = threading.Event()
        self.url = ""

    def answer(self, method: str, path: str, headers: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.calls.append(f"{method} {path}")
        if self.silent:
            self.released.wait(30)
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if self.namespace is not None and headers.get("X-Vault-Namespace") != self.namespace:
            return 404, {"errors": [f'no handler for route "{path}". route entry not found.']}
        if path == f"/v1/auth/{self.approle_mount}/login":
            return self._login(body)
        token = headers.get("X-Vault-Token", "")
        made, ends = self.tokens.get(token, (0.0, -1.0))
        if self.now >= ends:
            return 403, {"errors": [DENIED]}
        if path == "/v1/auth/token/renew-self":
            ends = min(self.now + self.lease_seconds, made + self.max_seconds)
            self.tokens[token] = (made, ends)
            return 200, {"auth": self._auth(token, ends - self.now)}
        prefix = f"/v1/{self.mount}/data/"
        if not path.startswith(prefix):
            return 404, {"errors": [f'no handler for route "{path.removeprefix("/v1/")}". route entry not found.']}
        return self._secret(path.removeprefix(prefix))

    def _login(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (body.get("role_id"), body.get("secret_id")) != (ROLE_ID, SECRET_ID):
            return 400, {"errors": ["invalid role or secret ID"]}
        token = f"s.token-number-{len(self.tokens)}-of-the-store"
        self.tokens[token] = (self.now, self.now + self.lease_seconds)
        return 200, {"auth": self._auth(token, self.lease_seconds)}

    def _auth(self, token: str, seconds: float) -> dict[str, Any]:
        return {"client_token": token, "lease_duration": int(seconds), "renewable": self.renewable, "policies": ["p"]}

    def _secret(self, path: str) -> tuple[int, dict[str, Any]]:
        if path in self.denied:
            return 403, {"errors": [DENIED]}
        if path not in self.secrets:
            return 404, {"errors": []}
        fields = self.secrets[path]
        metadata = {"version": 1, "deletion_time": "" if fields is not None else "2026-01-01T00:00:00Z"}
        return (200 if fields is not None else 404), {"data": {"data": fields, "metadata": metadata}}


@contextmanager
def serving(secrets: dict[str, dict[str, Any] | None]) -> Iterator[Store]:
    store = Store(secrets)

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status, document = store.answer(self.command, self.path, self.headers, body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="fake openbao")
    thread.start()
    try:
        yield store
    finally:
        store.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
