"""One server's settings, as plain values: the daemon copies them from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """`environment` is all the server gets beside `PATH`, `HOME`, `LANG` and the like. `secrets`: what of it must not
    come back in a result or a log."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    directory: str | None = None
    timeout_seconds: float = 60.0  # of one call
    tools: tuple[str, ...] = ("*",)  # patterns of the server's own names

    def wants(self, tool: str) -> bool:
        return any(fnmatchcase(tool, pattern) for pattern in self.tools)

    def clean(self, text: str) -> str:
        """`text` without this server's secrets; the longest first, since one may be the beginning of another."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            if secret:
                text = text.replace(secret, "***")
        return text
