"""Secrets from OpenBao or Vault (KV version 2, AppRole), by hvac. https://openbao.org/api-docs/auth/approle/,
https://openbao.org/api-docs/secret/kv/kv-v2/

`secret:team/app#field` is the field of the latest version at `team/app` below the mount; without `#field` the secret
has to have one field only. The rules to know: hvac blocks, so `read` is for the start, before there is an event loop,
and `get` does it in a thread. A token is renewed when two thirds of its time are over, and replaced by a new login when
that fails or it is refused. No message holds a secret, a token, or what the daemon logs in with.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import hvac  # type: ignore[import-untyped]  # it has no types of its own
import requests  # hvac's transport, whose errors it lets through
from hvac import exceptions

from aegis.errors import SecretUnavailable

RENEW_SHARE: Final = 2 / 3  # of a token's time
DETAIL_CHARACTERS_MAX: Final = 300
REFERENCE = re.compile(r"(?P<path>[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)(?:#(?P<field>[^#\s]{1,255}))?")
REFERENCE_WANTED = "secret:path#field (letters, digits, '_', '-', '.', and '/' between)"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    address: str
    role_id: str = field(repr=False)
    secret_id: str = field(repr=False)
    namespace: str | None = None
    ca_file: str | None = None
    mount: str = "secret"
    approle_mount: str = "approle"
    timeout_seconds: float = 10.0  # of one call


class OpenBao:
    """One store. `read` and `get` may be called by many at once: they take turns. `close` frees the connection."""

    def __init__(self, settings: StoreSettings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._renewable = False
        self._client = hvac.Client(
            url=settings.address,
            token="",  # none from VAULT_TOKEN or ~/.vault-token: only what is configured counts
            namespace=settings.namespace,
            verify=settings.ca_file or True,
            timeout=settings.timeout_seconds,
        )

    async def get(self, reference: str) -> str:
        """As `read`, in a thread."""
        return await asyncio.to_thread(self.read, reference)

    def read(self, reference: str) -> str:
        """What follows `secret:`. SecretUnavailable says what is wrong: the store, the login, the path or the field."""
        match = REFERENCE.fullmatch(reference)
        if match is None or ".." in match["path"].split("/"):
            raise SecretUnavailable(f"secret:{reference[:200]} is no reference", next_step=f"Write {REFERENCE_WANTED}")
        with self._lock:
            fields = self._fields(match["path"])
        return self._field(match["path"], match["field"], fields)

    def close(self) -> None:
        self._client.adapter.close()

    # ---- one secret ----

    def _fields(self, path: str) -> dict[str, Any]:
        """All of a secret. A token that is refused may have been revoked: one new login, and once more."""
        self._ensure_token()
        try:
            answer = self._asked(lambda: self._read(path), f"secret {path}")
        except exceptions.Forbidden:
            self._log_in()
            try:
                answer = self._asked(lambda: self._read(path), f"secret {path}")
            except exceptions.Forbidden as error:
                mount = self._settings.mount
                raise self._wrong(
                    f"may not be read by this AppRole: permission denied for {mount}/data/{path}",
                    f'Its policy needs: path "{mount}/data/{path}" {{ capabilities = ["read"] }}',
                    path,
                ) from error
        except exceptions.InvalidPath as error:
            raise self._missing(path, error) from error
        try:
            fields = answer["data"]["data"]
        except (KeyError, TypeError) as error:
            raise self._wrong(f"is in {self._settings.mount}, which is no KV version 2", "", path) from error
        return fields if isinstance(fields, dict) else {}

    def _read(self, path: str) -> Any:
        return self._client.secrets.kv.v2.read_secret_version(
            path=path, mount_point=self._settings.mount, raise_on_deleted_version=True
        )

    def _missing(self, path: str, error: exceptions.InvalidPath) -> SecretUnavailable:
        mount = self._settings.mount
        if "no handler for route" in str(error):
            return self._wrong(
                f"cannot be read: there is no mount {mount}", "Set secrets.mount to the KV's mount", path
            )
        if isinstance(error.json, dict) and isinstance(error.json.get("data"), dict):
            return self._wrong("is deleted in its latest version", f"bao kv undelete or put {mount}/{path}", path)
        return self._wrong(f"is not there, in the mount {mount}", f"bao kv put -mount={mount} {path} FIELD=VALUE", path)

    def _field(self, path: str, name: str | None, fields: dict[str, Any]) -> str:
        there = ", ".join(sorted(fields)) or "none"
        if name is None:
            if len(fields) != 1:
                raise self._wrong(f"has the fields {there}", f"Name one: secret:{path}#FIELD", path)
            [name] = fields
        if name not in fields:
            raise self._wrong(f"has no field {name}; there are: {there}", "", path)
        value = fields[name]
        if isinstance(value, bool | dict | list) or value is None:
            raise self._wrong(f"holds no text in its field {name}", "", path)
        return str(value)

    def _wrong(self, what: str, next_step: str, path: str) -> SecretUnavailable:
        return SecretUnavailable(f"secret:{path} {what}", next_step=next_step, retryable=False)

    # ---- the token ----

    def _ensure_token(self) -> None:
        now = self._monotonic()
        if now < self._renew_at:
            return
        if now < self._ends_at and self._renewable:
            try:
                self._take(self._asked(self._client.auth.token.renew_self, "the token's renewal"))
            except (exceptions.Forbidden, exceptions.InvalidRequest):  # revoked, or as old as it may get
                self._log_in()
            else:
                if self._renew_at > now:
                    return
                self._log_in()  # it may not live longer: what it got is hardly anything
            return
        self._log_in()

    def _log_in(self) -> None:
        settings = self._settings
        self._client.token = ""
        self._renew_at = self._ends_at = 0.0

        def login() -> Any:
            return self._client.auth.approle.login(
                role_id=settings.role_id,
                secret_id=settings.secret_id,
                mount_point=settings.approle_mount,
                use_token=False,  # taken below, where an answer without one is told
            )

        try:
            self._take(self._asked(login, "the AppRole login"))
        except (exceptions.Forbidden, exceptions.InvalidRequest, exceptions.InvalidPath) as error:
            raise SecretUnavailable(
                f"The secret store at {settings.address} refuses the AppRole login: {self._clean(error)}",
                next_step="Check OPENBAO_ROLE_ID, OPENBAO_SECRET_ID (it may be used up or expired) and "
                "secrets.approle_mount",
                retryable=False,
            ) from error

    def _take(self, answer: Any) -> None:
        try:
            auth = answer["auth"]
            self._client.token = str(auth["client_token"])
            seconds, self._renewable = float(auth["lease_duration"]), bool(auth["renewable"])
        except (KeyError, TypeError, ValueError) as error:
            raise SecretUnavailable(
                f"What answers at {self._settings.address} is no OpenBao and no Vault",
                next_step="Check secrets.address",
            ) from error
        now = self._monotonic()
        self._ends_at = now + seconds if seconds > 0 else float("inf")  # 0: it does not end
        self._renew_at = now + seconds * RENEW_SHARE if seconds > 0 else float("inf")

    # ---- one call ----

    def _asked(self, call: Callable[[], T], what: str) -> T:
        """The answer. What is the store's fault is SecretUnavailable; what is this call's passes through."""
        address = self._settings.address
        try:
            return call()
        except (exceptions.Forbidden, exceptions.InvalidRequest, exceptions.InvalidPath):
            raise
        except exceptions.VaultDown as error:
            raise SecretUnavailable(
                f"The secret store at {address} is sealed or standing by: {self._clean(error)}",
                next_step="Unseal it (bao operator unseal)",
            ) from error
        except exceptions.VaultNotInitialized as error:
            raise SecretUnavailable(
                f"The secret store at {address} is not initialized", next_step="bao operator init"
            ) from error
        except exceptions.VaultError as error:
            raise SecretUnavailable(f"The secret store at {address} fails {what}: {self._clean(error)}") from error
        except requests.exceptions.SSLError as error:
            raise SecretUnavailable(
                f"The certificate of the secret store at {address} is not trusted: {self._clean(error)}",
                next_step="Set secrets.ca_file (or OPENBAO_CACERT) to its authority's",
                retryable=False,
            ) from error
        except requests.exceptions.Timeout as error:
            raise SecretUnavailable(
                f"The secret store at {address} has not answered within {self._settings.timeout_seconds:g} s",
                next_step="Check that it runs, and secrets.timeout",
            ) from error
        except (requests.exceptions.RequestException, ValueError, OSError) as error:
            raise SecretUnavailable(
                f"The secret store at {address} cannot be reached: {self._clean(error)}",
                next_step="Check secrets.address (or OPENBAO_ADDR)",
            ) from error

    def _clean(self, error: Exception) -> str:
        text = " ".join(str(error).split())
        for secret in (self._settings.secret_id, self._settings.role_id, self._client.token or ""):
            text = text.replace(secret, "***") if secret else text
        return text[:DETAIL_CHARACTERS_MAX]
