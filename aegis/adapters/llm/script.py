"""Answers from a YAML file: the offline provider of examples and tests (docs/models.md).

    iterations:
      - turns:
          - content: "I will write it."
            tool_calls:
              - {name: fs.write, arguments: {path: /workspace/main.py, content: "print(41)"}}
          - content: done
      - turns: [...]

or, for several agents in one file, `agents: {NAME: {iterations: [...]}}` (the name `*` is for all others). A turn may
be `error: rate_limit` (or timeout, refused, unusable), and may wait `delay_seconds` first.

The rule to know: there is no state. The turn is chosen by the iteration and by how many assistant turns the
conversation has, so a daemon that was restarted in the middle goes on with the right one. More iterations than
scripted repeat the last, more turns than scripted repeat the last turn's content without its calls, so that every
iteration ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aegis.errors import ModelFailed, Refused
from aegis.ports import Message, ModelContext, ModelReply, ToolCall, ToolSpec

SCRIPT_BYTES_MAX = 4 * 1024 * 1024
ANY_AGENT = "*"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Call(Part):
    name: str
    arguments: dict[str, Any] = {}
    arguments_error: str = ""


class Turn(Part):
    content: str = ""
    tool_calls: tuple[Call, ...] = ()
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    error: Literal["rate_limit", "timeout", "refused", "unusable"] | None = None


class ScriptedIteration(Part):
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]


class AgentScript(Part):
    iterations: Annotated[tuple[ScriptedIteration, ...], Field(min_length=1)]


class Script(Part):
    iterations: tuple[ScriptedIteration, ...] = ()
    agents: dict[str, AgentScript] = {}


class ScriptModel:
    """One alias that answers from one file. The file is read again when it has changed: no restart to try a new one."""

    def __init__(self, alias: str, path: str) -> None:
        self._alias = alias
        self._path = path
        self._read_at: tuple[int, int, int] | None = None
        self._script = Script()
        self._refresh()

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], context: ModelContext
    ) -> ModelReply:
        """ModelFailed where the script says so, or has nothing for this agent."""
        self._refresh()
        iterations = self._iterations(context.agent_name)
        turns = iterations[min(context.iteration, len(iterations)) - 1].turns
        position = sum(message.role == "assistant" for message in messages)
        turn = turns[position] if position < len(turns) else Turn(content=turns[-1].content or "done")
        if turn.delay_seconds:
            await asyncio.sleep(turn.delay_seconds)
        if turn.error:
            raise self._failure(turn.error)
        calls = tuple(
            ToolCall(f"call_{context.iteration}_{position}_{index}", call.name, call.arguments, call.arguments_error)
            for index, call in enumerate(turn.tool_calls)
        )
        return ModelReply(turn.content, calls, sum(len(message.content) for message in messages), len(turn.content))

    def _iterations(self, agent_name: str) -> tuple[ScriptedIteration, ...]:
        own = self._script.agents.get(agent_name) or self._script.agents.get(ANY_AGENT)
        iterations = own.iterations if own else self._script.iterations
        if not iterations:
            known = ", ".join(sorted(self._script.agents)) or "none"
            raise ModelFailed(
                f"The script {self._path} of model {self._alias} has nothing for agent {agent_name}",
                next_step=f"Add iterations, or agents.{agent_name}; it has: {known}",
                retryable=False,
            )
        return iterations

    def _failure(self, error: str) -> ModelFailed:
        retryable = error != "refused"
        return ModelFailed(f"Model {self._alias} (script): {error}, as scripted", retryable=retryable)

    def _refresh(self) -> None:
        try:
            status = os.stat(self._path)
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if version == self._read_at:
                return
            with open(self._path, "rb") as file:
                data = file.read(SCRIPT_BYTES_MAX + 1)
        except OSError as error:
            raise Refused(
                f"The script {self._path} of model {self._alias} cannot be read: {error.strerror}",
                next_step=f"Check models.{self._alias}.script",
            ) from error
        self._script = parse(data, self._path)
        self._read_at = version

    async def close(self) -> None:
        """Holds nothing."""


def parse(data: bytes, source: str) -> Script:
    """Refused, with every fault and its place."""
    if len(data) > SCRIPT_BYTES_MAX:
        raise Refused(f"The script {source} is larger than {SCRIPT_BYTES_MAX} bytes")
    try:
        document = yaml.safe_load(data)
        return Script.model_validate(document)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"The script {source} is no YAML: {error}") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)]
        raise Refused(
            f"The script {source} cannot be used: {'; '.join(faults[:10])}", next_step="docs/models.md"
        ) from error
