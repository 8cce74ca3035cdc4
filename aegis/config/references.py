"""Values that are somewhere else: `env:NAME`, `secret:path#field`, and `literal:text` for text that begins like one.

Every string of a configuration may be one. They are looked up once, when the configuration is read. The rule to know:
the store is opened by the first `secret:`, so a node without any needs none; and one that cannot be had is asked once,
however many references there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from aegis.config.model import SecretStore
from aegis.documents.nodes import Scalar
from aegis.documents.readers import Mistake
from aegis.errors import AegisError, WorldError

SecretSource = Callable[[str], str]
"""Gets what follows `secret:`; AegisError when it cannot be had, and whether another may be (`retryable`: none can)."""
SecretOpener = Callable[[SecretStore], SecretSource]
"""Makes one from the configuration's own section."""


def no_secret_store(settings: SecretStore) -> SecretSource:
    """For who reads a configuration and has no store: every `secret:` is refused."""

    def refuse(path: str) -> str:
        raise WorldError("secrets are not looked up here", retryable=False)

    return refuse


class References:
    def __init__(
        self,
        environ: Mapping[str, str],
        settings: SecretStore | None = None,
        opener: SecretOpener = no_secret_store,
    ) -> None:
        self._environ = environ
        self._settings = settings
        self._opener = opener
        self._source: SecretSource | None = None
        self._found: dict[str, str] = {}
        self._failure: AegisError | None = None  # of the store itself

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that came from the store."""
        return tuple(self._found.values())

    def resolve(self, scalar: Scalar) -> tuple[Scalar, bool]:
        """The scalar in whose place this one stands, and whether it is a secret. Mistake: it cannot be had."""
        if scalar.kind != "string":
            return scalar, False
        kind, separator, rest = scalar.text.partition(":")
        if not separator or kind not in ("env", "secret", "literal"):
            return scalar, False
        if kind == "env":
            return _untyped(scalar, self._variable(rest)), False
        if kind == "secret":
            return _untyped(scalar, self._secret(rest)), True
        return dataclasses.replace(scalar, text=rest, value=rest), False

    def _variable(self, name: str) -> str:
        if name not in self._environ:
            wanted = f"the environment variable {name}"
            raise Mistake(wanted, "it is not set; with systemd it belongs into /etc/aegis/env", found=f"env:{name}")
        return self._environ[name]

    def _secret(self, path: str) -> str:
        found = f"secret:{path}"
        if self._settings is None or not self._settings.address:
            hint = "no secret store is set: secrets.address, or OPENBAO_ADDR"
            raise Mistake("env:NAME or the value itself", hint, found=found)
        try:
            if self._failure is not None:
                raise self._failure
            if self._source is None:
                self._source = self._opener(self._settings)
            if path not in self._found:
                self._found[path] = self._source(path)
        except AegisError as error:
            if isinstance(error, WorldError) and error.retryable:
                self._failure = error
            raise Mistake("a secret that can be read", str(error), found=found) from None
        return self._found[path]


def _untyped(scalar: Scalar, text: str) -> Scalar:
    return dataclasses.replace(scalar, text=text, value=text, untyped=True)
