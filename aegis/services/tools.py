"""The tools a model may call: what it is told of them, who may use them, and what comes back.

The rules to know: the manifest's patterns are asked before every call, here and nowhere else. Whatever goes wrong with
a call is its result, as text the model can act on; only failures of ours are exceptions. Every result has a bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aegis.domain.execution import Execution
from aegis.domain.policy import tool_allowed
from aegis.domain.text import shorten
from aegis.errors import Refused
from aegis.ids import new_id
from aegis.ports import ToolCall, ToolSpec
from aegis.services.conversation import Dispatch
from aegis.services.recorder import Journal
from aegis.services.workspaces import Workspaces

RESULT_CHARACTERS_MAX: Final = 32_000
EVENT_CHARACTERS_MAX: Final = 2_000  # of one argument or result in an event: enough to see what happened


class Arguments(BaseModel):
    """A tool's arguments; its JSON Schema is what the model is shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """On whose behalf a tool runs."""

    execution: Execution
    files: Workspaces
    journal: Journal


A = TypeVar("A", bound=Arguments)
Run = Callable[[Any, ToolContext], Awaitable["str | DispatchRequest"]]


@dataclass(frozen=True, slots=True)
class DispatchRequest:
    """A tool's wish to have a command run in the container."""

    command: str
    args: tuple[str, ...]
    cwd: str
    timeout_seconds: float
    max_output_bytes: int


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    arguments: type[Arguments]
    run: Run

    def spec(self) -> ToolSpec:
        return ToolSpec(self.name, self.description, _without_titles(self.arguments.model_json_schema()))


class ToolBox:
    """All tools of the node; an execution sees those its manifest allows."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    def specs(self, execution: Execution) -> list[ToolSpec]:
        allowed = execution.manifest.tools
        return [tool.spec() for tool in self._tools.values() if tool_allowed(allowed, tool.name)]

    async def call(self, call: ToolCall, context: ToolContext) -> str | Dispatch:
        """The result's text, or the dispatch that will bring it."""
        arguments = {name: _for_event(value) for name, value in call.arguments.items()}
        await context.journal.tell("tool.called", name=call.name, arguments=arguments)
        refusal = self._refusal(call, context.execution)
        if refusal:
            await context.journal.tell("tool.denied", name=call.name, reason=refusal)
            return f"error: {refusal}"
        tool = self._tools[call.name]
        try:
            result = await tool.run(_parse(tool, call), context)
        except Refused as error:
            result = f"error: {error}"
        if isinstance(result, DispatchRequest):
            return _dispatch(call, result)
        result = shorten(result, RESULT_CHARACTERS_MAX)
        await context.journal.tell("tool.completed", name=call.name, result=_for_event(result))
        return result

    def _refusal(self, call: ToolCall, execution: Execution) -> str:
        allowed = execution.manifest.tools
        if call.name not in self._tools:
            known = ", ".join(spec.name for spec in self.specs(execution))
            return f"there is no tool {call.name!r:.100}; there are: {known or 'none'}"
        if not tool_allowed(allowed, call.name):
            return f"the tool {call.name} is not allowed here (allowed: {', '.join(allowed) or 'none'})"
        return ""


def _parse(tool: Tool, call: ToolCall) -> Arguments:
    if call.arguments_error:
        raise Refused(f"the arguments of {tool.name} cannot be read: {call.arguments_error}")
    try:
        return tool.arguments.model_validate(dict(call.arguments))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()[:5]]
        raise Refused(f"wrong arguments for {tool.name}: {'; '.join(wrong)}") from None


def _dispatch(call: ToolCall, wanted: DispatchRequest) -> Dispatch:
    return Dispatch(
        dispatch_id=new_id(),
        call_id=call.id,
        command=wanted.command,
        args=wanted.args,
        cwd=wanted.cwd,
        timeout_seconds=wanted.timeout_seconds,
        max_output_bytes=wanted.max_output_bytes,
    )


def _for_event(value: Any) -> Any:
    if isinstance(value, str):
        return shorten(value, EVENT_CHARACTERS_MAX)
    if isinstance(value, (list, tuple)):
        return [_for_event(each) for each in value[:100]]
    if isinstance(value, Mapping):
        return {str(key)[:100]: _for_event(each) for key, each in list(value.items())[:100]}
    return value


def _without_titles(schema: Any) -> Any:
    """Pydantic's titles repeat the names: tokens for nothing. A property called `title` is a mapping and stays."""
    if isinstance(schema, dict):
        return {
            key: _without_titles(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)
        }
    return [_without_titles(each) for each in schema] if isinstance(schema, list) else schema
