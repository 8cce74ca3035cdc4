"""Security contexts: named sets of what tools may do, as configuration and manifest say it.

A call is allowed by a capability whose pattern means the tool and whose lists all allow what the call touches; without
one it is denied. `deny` is asked before anything else. As with all lists of ours: None restricts nothing, an empty one
allows nothing. What a call is measured by is in `aegis.domain.capabilities`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_CONTEXT = "default"  # holds where a manifest names none
CALLS_MAX = 10_000  # of one rate limit: so many times are remembered


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RateLimit(Model):
    """Of the calls that a capability allows, in one execution."""

    calls_per_minute: Annotated[int, Field(ge=1, le=CALLS_MAX)] | None = None  # in any 60 s
    calls_per_execution: Annotated[int, Field(ge=1)] | None = None  # in all its iterations together

    @property
    def limits(self) -> bool:
        return self.calls_per_minute is not None or self.calls_per_execution is not None


class PathLists(Model):
    """Path patterns as seen in the container, as those of `security.filesystem`."""

    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None


class Capability(Model):
    """What the tools of a pattern may do. `commands`: a program as it is called, and the first arguments it may be
    called with (`*`: any, and none; an empty list: none)."""

    tool_pattern: str
    filesystem: PathLists = PathLists()
    domains: tuple[str, ...] | None = None
    commands: dict[str, tuple[str, ...]] | None = None
    rate_limit: RateLimit = RateLimit()


class SecurityContext(Model):
    name: str
    description: str = ""
    capabilities: tuple[Capability, ...] = ()
    deny: tuple[str, ...] = ()  # tool patterns
