"""Tools of tool servers as tools of the node: known only while it runs, and under the very same policy.

What such a tool touches nobody here can tell, but for the URLs it is given: those have to be allowed by the agent's
network policy and by lists of domains, since the server's own way to the network is not the agent's. A security context
with a list of paths or commands denies it, as it denies everything that it cannot judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from pydantic import ConfigDict

from aegis.domain.capabilities import Touched
from aegis.domain.text import shorten
from aegis.errors import Refused
from aegis.ports import ToolServers, ToolSpec
from aegis.services.tools import RESULT_CHARACTERS_MAX, Arguments, Tool, ToolContext

URLS_MAX: Final = 100
# Also as lenient parsers read it: blanks before it, a scheme of the web without its slashes.
_URL = re.compile(r"[\s\x00-\x20]*((?:[A-Za-z][A-Za-z0-9+.-]*://|(?i:https?|wss?|ftp):)\S*)")


class AnyArguments(Arguments):
    """Checked by the server, against a schema that is its own."""

    model_config = ConfigDict(extra="allow", frozen=True)


def urls_named(arguments: AnyArguments, _context: ToolContext) -> Touched:
    """Every argument, however deep, that is a URL or begins with one. Refused: more than can be looked at."""
    urls = tuple(islice(_urls(arguments.model_extra), URLS_MAX + 1))
    if len(urls) > URLS_MAX:
        raise Refused(f"More than {URLS_MAX} URLs in one call: make several")
    return Touched(urls=urls)


def _urls(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        found = _URL.match(value)
        if found is not None:
            yield found[1]
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _urls(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _urls(each)


class ServerTools:
    """A source of `ToolBox`: the tools there are now."""

    def __init__(self, servers: ToolServers) -> None:
        self._servers = servers

    def __call__(self) -> Iterator[Tool]:
        for spec in self._servers.tools():
            yield self._tool(spec)

    def _tool(self, spec: ToolSpec) -> Tool:
        async def perform(arguments: AnyArguments, context: ToolContext) -> str:
            answer = await self._servers.call(spec.name, arguments.model_extra or {})
            if answer.failed:
                raise Refused(shorten(answer.text, RESULT_CHARACTERS_MAX) or f"{spec.name} failed and says nothing")
            return answer.text or "(nothing)"

        return Tool(spec.name, spec.description, AnyArguments, perform, urls_named, parameters=spec.parameters)
