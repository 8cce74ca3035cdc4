"""Secrets that a manifest asks for: which it may have, how they get into its container, and where they are blanked out.

The rules to know: a manifest says only where a secret is; what is stored and shown is that. The value is looked up for
each container anew, is in that container's environment and nowhere else, and from then on is blanked out of everything
that is stored (`concealed`) and everything a model is told, whoever says it: an agent that prints its environment is
nothing unusual. So are the daemon's own keys of containers (`aegis.domain.own_keys`), always. It is text that is
compared: what an agent writes backwards, in base64, or in two pieces is not found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar, cast

from aegis.domain.events import Event
from aegis.domain.manifest import AgentManifest
from aegis.domain.own_keys import PATTERN as OWN_KEY
from aegis.errors import Denied, SecretUnavailable
from aegis.ports import Secrets, Store

FILE_EVENTS: Final = "file."
HIDDEN: Final = "***"
SHORTEST_CHARACTERS: Final = 6  # of a value: a shorter one would blank half of every output
KNOWN_MAX: Final = 10_000  # different values in one life of the daemon
T = TypeVar("T")


class AgentSecrets:
    """`paths`: patterns of what manifests may name; None where the node has no store."""

    def __init__(self, store: Secrets | None = None, paths: Sequence[str] = ()) -> None:
        self._store = store
        self._paths = tuple(paths)
        self._known: dict[str, None] = {}
        self._pattern = OWN_KEY

    def check(self, manifest: AgentManifest) -> None:
        """Denied for a path that agents may not name; SecretUnavailable without a store."""
        for variable, reference in manifest.secret_environment.items():
            if self._store is None:
                raise SecretUnavailable(
                    f"The variable {variable} is secret:{reference}, and this node has no secret store",
                    next_step="Set secrets.address in the node's configuration",
                    retryable=False,
                )
            path = reference.partition("#")[0]
            if not any(fnmatchcase(path, pattern) for pattern in self._paths):
                raise Denied(
                    f"The variable {variable} is secret:{reference}, which agents of this node may not have",
                    next_step=f"Add {path} to secrets.agent_paths in the node's configuration",
                )

    async def environment(self, manifest: AgentManifest) -> dict[str, str]:
        """The values, by variable; from now on they are blanked out. SecretUnavailable."""
        self.check(manifest)
        found = {}
        for variable, reference in manifest.secret_environment.items():
            assert self._store is not None, "checked"
            value = await self._store.get(reference)
            if len(value) < SHORTEST_CHARACTERS or "\0" in value:
                raise SecretUnavailable(
                    f"secret:{reference} is shorter than {SHORTEST_CHARACTERS} characters or holds a NUL: it could be "
                    "blanked out of nothing",
                    retryable=False,
                )
            self._know(value)
            found[variable] = value
        return found

    def _know(self, value: str) -> None:
        if value in self._known:
            return
        if len(self._known) >= KNOWN_MAX:
            raise SecretUnavailable(
                f"{KNOWN_MAX} different secrets have been given to agents, no more can be blanked out",
                next_step="Restart the daemon",
                retryable=False,
            )
        self._known[value] = None
        longest_first = sorted(self._known, key=len, reverse=True)  # one may be the beginning of another
        self._pattern = re.compile("|".join([*map(re.escape, longest_first), OWN_KEY.pattern]))

    def concealed(self, value: T) -> T:
        """`value` of the same kind without what is known: texts, mappings, lists, tuples and dataclasses of such."""
        return cast(T, self._concealed(value))

    def _concealed(self, value: Any) -> Any:
        if isinstance(value, str) and type(value) is str:
            return self._pattern.sub(HIDDEN, value)
        if isinstance(value, Mapping):
            return {key: self._concealed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._concealed(inner) for inner in value]
        if isinstance(value, tuple):
            return tuple(self._concealed(inner) for inner in value)
        if isinstance(value, Event) and value.kind.startswith(FILE_EVENTS) and not self._known:
            return value  # there are thousands a second, and no name of a file has a key of ours in it
        if is_dataclass(value) and not isinstance(value, type):
            old = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
            new = {name: self._concealed(inner) for name, inner in old.items()}
            return value if new == old else replace(value, **new)
        return value


class _Concealing:
    def __init__(self, store: Store, secrets: AgentSecrets) -> None:
        self._store = store
        self._secrets = secrets

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            return method(*self._secrets.concealed(arguments), **self._secrets.concealed(named))

        return call


def concealing(store: Store, secrets: AgentSecrets) -> Store:
    """`store`, which is given nothing that holds a known secret."""
    return cast(Store, _Concealing(store, secrets))
