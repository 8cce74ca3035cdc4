"""Answers from a YAML file: the offline provider of examples and tests (docs/models.md; the format: script_format.py).

The rule to know: there is no state. The turn is chosen by the iteration and by how many assistant turns the
conversation has, so a daemon that was restarted in the middle goes on with the right one. More iterations than
scripted repeat the last, more turns than scripted repeat the last turn's content without its calls, so that every
iteration ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from aegis.adapters.llm.arguments import read_arguments
from aegis.adapters.llm.failures import Provider
from aegis.adapters.llm.script_format import SCRIPT_BYTES_MAX, Call, Script, ScriptedIteration, Turn, parse
from aegis.errors import ModelFailed, Refused
from aegis.ports import Finish, Message, ModelContext, ModelReply, ToolCall, ToolSpec

ANY_AGENT = "*"
REASONS = {"rate_limit": "rate_limited", "server_error": "overloaded", "refused": "rejected"}  # else the error's name
LASTING = frozenset({"credentials", "refused"})


class ScriptModel:
    """One alias that answers from one file. The file is read again when it has changed: no restart to try a new one."""

    def __init__(self, alias: str, path: str, *, timeout_seconds: float = 300.0) -> None:
        self._alias = alias
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._provider = Provider("script", alias, path)
        self._read_at: tuple[int, int, int] | None = None
        self._script = Script()
        self._refresh()

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], context: ModelContext
    ) -> ModelReply:
        """ModelFailed where the script says so, or has nothing for this agent."""
        self._refresh()
        position = sum(message.role == "assistant" for message in messages)
        turn = self._turn(messages, context, position)
        if turn.delay_seconds:
            await asyncio.sleep(min(turn.delay_seconds, self._timeout_seconds))
            if turn.delay_seconds > self._timeout_seconds:
                raise self._provider.late(self._timeout_seconds)
        if context.attempt <= len(turn.failures):
            failure = turn.failures[context.attempt - 1]
            raise self._failure(failure.error, failure.retry_after_seconds)
        if turn.error:
            raise self._failure(turn.error, turn.retry_after_seconds)
        calls = tuple(
            _call(f"call_{context.iteration}_{position}_{index}", call) for index, call in enumerate(turn.tool_calls)
        )
        if turn.usage is not None:
            used = (turn.usage.input_tokens, turn.usage.output_tokens)
        else:
            used = (sum(len(message.content) for message in messages), len(turn.content))
        return ModelReply(turn.content, () if turn.finish is Finish.REFUSAL else calls, *used, turn.finish)

    def _turn(self, messages: Sequence[Message], context: ModelContext, position: int) -> Turn:
        last = messages[-1].content if messages else ""
        for answer in self._script.answers:
            if answer.when.holds(context.agent_name, context.iteration, position + 1, last):
                return answer
        iterations = self._iterations(context.agent_name)
        turns = iterations[min(context.iteration, len(iterations)) - 1].turns
        return turns[position] if position < len(turns) else Turn(content=turns[-1].content or "done")

    def _iterations(self, agent_name: str) -> tuple[ScriptedIteration, ...]:
        own = self._script.agents.get(agent_name) or self._script.agents.get(ANY_AGENT)
        iterations = own.iterations if own else self._script.iterations
        if not iterations:
            known = ", ".join(sorted(self._script.agents)) or "none"
            raise ModelFailed(
                f"The script {self._path} of model {self._alias} has nothing for agent {agent_name}",
                next_step=f"Add iterations, or agents.{agent_name}; it has: {known}",
                retryable=False,
                reason="not_found",
            )
        return iterations

    def _failure(self, error: str, retry_after_seconds: float | None) -> ModelFailed:
        if error == "context_too_long":
            return self._provider.too_long("as scripted")
        return ModelFailed(
            f"Model {self._alias} (script): {error}, as scripted",
            retryable=error not in LASTING,
            reason=REASONS.get(error, error),
            retry_after_seconds=retry_after_seconds,
        )

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


def _call(id: str, call: Call) -> ToolCall:
    if call.arguments_text is None:
        return ToolCall(id, call.name, call.arguments, call.arguments_error)
    arguments, error = read_arguments(call.arguments_text)
    return ToolCall(id, call.name, arguments, error)
