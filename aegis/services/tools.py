"""The tools a model may call: what it is told of them, who may use them, and what comes back.

The rules to know: `ToolBox.call` is the only way to a tool, and it asks the policy (`policy.py`) before every call. The
decision is an event, stored before the tool runs. Whatever goes wrong with a call is its result, as text the model can
act on; only failures of ours are exceptions. Every result has a bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aegis.domain.capabilities import Touched
from aegis.domain.contexts import SecurityContext
from aegis.domain.events import Event
from aegis.domain.execution import Execution
from aegis.domain.manifest import AgentManifest
from aegis.domain.text import shorten
from aegis.errors import Refused
from aegis.ids import new_id
from aegis.ports import ToolCall, ToolSpec
from aegis.services.conversation import Dispatch
from aegis.services.policy import Decision, ToolPolicy
from aegis.services.rates import RateLimits
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
    rates: RateLimits = field(default_factory=RateLimits)


A = TypeVar("A", bound=Arguments)
Perform = Callable[[Any, ToolContext], Awaitable["str | DispatchRequest"]]
Touches = Callable[[Any, ToolContext], Touched]
Caller = Literal["model", "agent"]
"""Who calls: the model, through the inner loop, or a process in the container, through SMCP."""


@dataclass(frozen=True, slots=True)
class DispatchRequest:
    """A tool's wish to have a command run in the container."""

    command: str
    args: tuple[str, ...]
    cwd: str
    timeout_seconds: float
    max_output_bytes: int


def touches_nothing_known(_arguments: Any, _context: ToolContext) -> Touched:
    return Touched()


@dataclass(frozen=True, slots=True)
class Tool:
    """`perform` is for `ToolBox.call` alone. `touches` says what a call is measured by; a tool that does not say it is
    denied by every list. `in_container`: it brings a command into the container; a process there has no need of it.
    `parameters`: the JSON Schema to show, where the arguments' own says nothing."""

    name: str
    description: str
    arguments: type[Arguments]
    perform: Perform
    touches: Touches = touches_nothing_known
    in_container: bool = False
    parameters: Mapping[str, Any] | None = None

    def spec(self) -> ToolSpec:
        own = self.parameters if self.parameters is not None else self.arguments.model_json_schema()
        return ToolSpec(self.name, self.description, _without_titles(own))


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`failed`: denied, or gone wrong; the text says why."""

    text: str
    failed: bool = False


class ToolBox:
    """All tools of the node; an execution sees those that may be allowed to it. `sources` are asked each time: their
    tools are known only while the node runs, and never take the place of one of the node's own."""

    def __init__(
        self,
        tools: Sequence[Tool],
        policy: ToolPolicy | None = None,
        sources: Sequence[Callable[[], Iterable[Tool]]] = (),
    ) -> None:
        self._own = {tool.name: tool for tool in tools}
        self._policy = policy or ToolPolicy()
        self._sources = tuple(sources)

    @property
    def _tools(self) -> Mapping[str, Tool]:
        found = dict(self._own)
        for source in self._sources:
            for tool in source():
                found.setdefault(tool.name, tool)
        return found

    def specs(self, execution: Execution, caller: Caller = "model") -> list[ToolSpec]:
        return [
            tool.spec()
            for tool in self._tools.values()
            if self._policy.by_name(execution.manifest, tool.name).allowed
            and not (tool.in_container and caller == "agent")
        ]

    @property
    def names(self) -> list[str]:
        """Of all tools there are now, in the order in which they are shown."""
        return list(self._tools)

    def node_contexts(self, manifest: AgentManifest) -> list[SecurityContext]:
        """The security contexts of the node that decide about an agent."""
        return self._policy.of_node(manifest)

    async def call(self, call: ToolCall, context: ToolContext, caller: Caller = "model") -> ToolResult | Dispatch:
        """The result, or the dispatch that will bring it."""
        tool = self._tools.get(call.name)  # once: a source may know others a moment later
        try:
            decision, arguments = await self._decide(tool, call, context, caller)
        except Refused as error:  # no arguments to decide about
            await context.journal.sink.emit(_called(call, context, caller))
            return await self._completed(call, context, caller, ToolResult(f"error: {error}", failed=True))
        if not decision.allowed:
            denied = context.journal.event(
                "tool.denied", name=call.name, reason=decision.refusal, rules=list(decision.rules), caller=caller
            )
            await context.journal.sink.emit(_called(call, context, caller), denied)
            return ToolResult(f"error: {decision.refusal}", failed=True)
        allowed = context.journal.event("tool.allowed", name=call.name, rules=list(decision.rules), caller=caller)
        await context.journal.sink.emit(_called(call, context, caller), allowed)
        assert tool is not None, "allowed"
        try:
            result = await tool.perform(arguments, context)
        except Refused as error:
            return await self._completed(call, context, caller, ToolResult(f"error: {error}", failed=True))
        if isinstance(result, DispatchRequest):
            return _dispatch(call, result)
        return await self._completed(call, context, caller, ToolResult(shorten(result, RESULT_CHARACTERS_MAX)))

    async def _decide(
        self, tool: Tool | None, call: ToolCall, context: ToolContext, caller: Caller
    ) -> tuple[Decision, Arguments | None]:
        """By the name first: what is wrong with the arguments of a tool that is denied anyway is nobody's business."""
        manifest = context.execution.manifest
        if tool is None:
            known = ", ".join(spec.name for spec in self.specs(context.execution, caller))
            return Decision(
                ("no such tool",), f"there is no tool {call.name!r:.100}; there are: {known or 'none'}"
            ), None
        decision = self._policy.by_name(manifest, tool.name)
        if tool.in_container and caller == "agent":
            why = f"{tool.name} runs commands in the container, and you are in it: run the command yourself"
            decision = Decision(("smcp",), why)
        if not decision.allowed:
            return decision, None
        arguments = _parse(tool, call)
        touched, mounts = tool.touches(arguments, context), context.files.mount_paths
        clock = context.journal.clock
        return await self._policy.decide(manifest, tool.name, touched, mounts, context.rates, clock), arguments

    async def _completed(self, call: ToolCall, context: ToolContext, caller: Caller, result: ToolResult) -> ToolResult:
        await context.journal.tell("tool.completed", name=call.name, result=_for_event(result.text), caller=caller)
        return result


def _called(call: ToolCall, context: ToolContext, caller: Caller) -> Event:
    arguments = {name: _for_event(value) for name, value in call.arguments.items()}
    return context.journal.event("tool.called", name=call.name, arguments=arguments, caller=caller)


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
