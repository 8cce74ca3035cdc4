"""Values that are somewhere else: `env:NAME`, `secret:path`, and `literal:text` for text that begins like one of them.

Every string of a configuration may be one. They are looked up once, when the configuration is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from aegis.documents.nodes import Scalar
from aegis.documents.readers import Mistake

SecretSource = Callable[[str], str]
"""Gets what follows `secret:`; raises Mistake when there is none."""


def no_secret_store(path: str) -> str:
    wanted = "env:NAME or the value itself"
    raise Mistake(
        wanted, "secret: needs a secret store, which is not available in this version", found=f"secret:{path}"
    )


class References:
    def __init__(self, environ: Mapping[str, str], secrets: SecretSource = no_secret_store) -> None:
        self._environ = environ
        self._secrets = secrets

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
            return _untyped(scalar, self._secrets(rest)), True
        return dataclasses.replace(scalar, text=rest, value=rest), False

    def _variable(self, name: str) -> str:
        if name not in self._environ:
            wanted = f"the environment variable {name}"
            raise Mistake(wanted, "it is not set; with systemd it belongs into /etc/aegis/env", found=f"env:{name}")
        return self._environ[name]


def _untyped(scalar: Scalar, text: str) -> Scalar:
    return dataclasses.replace(scalar, text=text, value=text, untyped=True)
