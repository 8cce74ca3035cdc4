"""Who may call what: four kinds of access, never mixed.

- `OPEN`: liveness, readiness and the API's description.
- `API`: a Bearer token of the node or of a tenant. There is always at least one: with none configured the daemon makes
  one and keeps it in a file only its user can read, which the same user's CLI finds. What a tenant's token sees and
  makes is the tenant's; what a token of the node does is done as `node.tenant_id`.
- `NODE`: a Bearer token of the node. What is the whole node's, no tenant sees.
- `DISPATCH`: the Bearer token of one execution, valid for that execution's dispatches and for nothing else; an API
  token is not valid there either. So a container that can reach the listener can speak for its own execution only.
- `SMCP`: for tool calls by processes in a container. Attesting takes the execution's token or the iteration's attest
  token; calling takes a token that was attested, and an envelope signed with its key (`aegis.services.smcp`).

Tokens are compared as SHA-256 digests: constant time, and of an execution's token only the digest is ever stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path

from aiohttp import web

from aegis.domain.execution import FINAL_STATES, Execution
from aegis.errors import Conflict, Denied, NotFound, Refused, Unauthorized, WorldError
from aegis.ports import Store

TOKEN_BYTES = 32
TOKEN_FILE_NAME = "api-token"  # noqa: S105 - a file's name
TOKEN_PATTERN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")  # RFC 6750's alphabet; shorter is guessable
UNKNOWN_HASH = hashlib.sha256(b"no such execution").hexdigest()


class Access(Enum):
    OPEN = "open"
    API = "api"
    NODE = "node"
    DISPATCH = "dispatch"
    SMCP = "smcp"


class ExecutionOver(Conflict):
    """The execution has a final state: its container has nothing more to ask."""

    code = "execution_over"


class BadTokenFile(WorldError):
    code = "bad_token_file"
    retryable = False


def token_hash(token: str) -> str:
    """SHA-256 in hex: what `Execution.token_hash` holds."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def bearer(request: web.Request) -> str:
    """The request's Bearer token, "" when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class ApiTokens:
    """The API tokens of the node and of tenants, kept as digests only. Refused for a token that could be guessed,
    cannot be sent, or is said twice for different tenants."""

    def __init__(self, tokens: Collection[str], tenants: Mapping[str, Collection[str]] | None = None) -> None:
        if not tokens:
            raise ValueError("an API without any token would be open to whoever reaches its port")
        self._bearers: dict[str, str | None] = {}
        """Digest -> the tenant whose token it is; None: the node's."""
        self._add(tokens, None, "api.tokens")
        for tenant, theirs in (tenants or {}).items():
            self._add(theirs, tenant, f"api.tenants.{tenant}.tokens")

    def _add(self, tokens: Collection[str], tenant: str | None, where: str) -> None:
        for token in tokens:
            if not TOKEN_PATTERN.fullmatch(token):
                raise Refused(
                    "An API token is not 16 to 512 letters, digits or ._~+/=- characters",
                    next_step=f"Change it in {where}; `openssl rand -hex 32` makes one",
                )
            if self._bearers.setdefault(token_hash(token), tenant) != tenant:
                raise Refused(
                    f"A token of {where} is somebody else's too: whose it is could not be told",
                    next_step="Give each tenant tokens of its own; `openssl rand -hex 32` makes one",
                )

    def accept(self, token: str) -> bool:
        """Whether it is one of the node's own."""
        known, tenant = self._find(token)
        return known and tenant is None

    def _find(self, token: str) -> tuple[bool, str | None]:
        presented = token_hash(token)
        found: tuple[bool, str | None] = (False, None)
        for known, tenant in self._bearers.items():  # to the end, whoever it is
            if hmac.compare_digest(presented, known):
                found = (True, tenant)
        return found

    def require(self, request: web.Request) -> str | None:
        """Whose token it carries: a tenant's, or (None) the node's."""
        token = bearer(request)
        known, tenant = self._find(token)
        if not token or not known:
            raise Unauthorized(
                "This needs an API token" if not token else "This API token is not valid here",
                next_step="Send `Authorization: Bearer TOKEN`; the CLI finds its own user's by itself",
            )
        return tenant

    def require_node(self, request: web.Request) -> None:
        """Denied for a tenant's token."""
        tenant = self.require(request)
        if tenant is not None:
            raise Denied(
                f"This is the whole node's, and the token is tenant {tenant}'s",
                next_step="Ask whoever runs the node: it takes one of api.tokens, or the node's own token",
            )


async def authorise_dispatch(request: web.Request, store: Store, execution_id: str) -> Execution:
    """The execution, when the request carries its token. An unknown execution and a wrong token look the same from
    outside; ExecutionOver (409) when it has already ended, so that its container stops asking."""
    try:
        execution = await store.get_execution(execution_id)
        known = execution.token_hash or UNKNOWN_HASH
    except NotFound:
        execution, known = None, UNKNOWN_HASH
    valid = hmac.compare_digest(token_hash(bearer(request)), known)
    if execution is None or not valid or not execution.token_hash:
        raise Unauthorized("This needs the execution's own dispatch token", next_step="It is in AEGIS_DISPATCH_TOKEN")
    if execution.state in FINAL_STATES:
        raise ExecutionOver(f"Execution {execution.id} is {execution.state}")
    return execution


def ensure_token_file(state_directory: Path) -> str:
    """The node's own API token: read from `api-token` in the state directory, made (mode 0600) when it is not there.

    Safe to call from two daemons starting at once: the file is linked into place, so both read the same one.
    BadTokenFile when it can be read by others, or holds no token."""
    path = state_directory / TOKEN_FILE_NAME
    try:
        if not path.exists():
            _create_token_file(path)
        if path.stat().st_mode & 0o077:
            raise BadTokenFile(
                f"{path} can be read by other users (mode {path.stat().st_mode & 0o777:04o})",
                next_step=f"Delete it, the daemon makes a new one: rm {path}",
            )
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTokenFile(f"The API token file {path} cannot be used: {error}") from error
    if not TOKEN_PATTERN.fullmatch(token):
        raise BadTokenFile(f"{path} does not hold an API token", next_step=f"Delete it: rm {path}")
    return token


def _create_token_file(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another daemon was first: its token is the one
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
