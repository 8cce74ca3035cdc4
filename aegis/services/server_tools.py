"""Tools of tool servers as tools of the node: known only while it runs, and under the very same policy.

What such a tool touches nobody here can tell: a security context with a list of paths, hosts or commands denies it, as
it denies everything that it cannot judge. Which tools may be called at all is the manifest's and the context's to say.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ConfigDict

from aegis.domain.text import shorten
from aegis.errors import Refused
from aegis.ports import ToolServers, ToolSpec
from aegis.services.tools import RESULT_CHARACTERS_MAX, Arguments, Tool, ToolContext


class AnyArguments(Arguments):
    """Checked by the server, against a schema that is its own."""

    model_config = ConfigDict(extra="allow", frozen=True)


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

        return Tool(spec.name, spec.description, AnyArguments, perform, parameters=spec.parameters)
