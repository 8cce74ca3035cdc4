"""One iteration's inner loop while it is open, and what the loop asks of its neighbours. Changed by `inner_loop.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aegis.domain.events import Event
from aegis.domain.execution import Execution
from aegis.errors import WorldError
from aegis.ports import Message, ModelContext, ModelReply, ModelUsage, ToolSpec
from aegis.services.agent_calls import AgentCalls
from aegis.services.conversation import Conversation
from aegis.services.recorder import Journal
from aegis.services.running_output import RunningOutput
from aegis.services.tools import ToolContext

CommandEnvironment = Callable[[Execution, int], Mapping[str, str]]
"""What a command of an iteration has in its environment beside the container's own."""


class ComesAgain(WorldError):
    """A daemon that has just started does not have the iteration open yet."""

    code = "resuming"
    retry_after_seconds = 1.0


@dataclass(frozen=True, slots=True)
class FinalResponse:
    content: str
    tool_calls_executed: int


@dataclass(slots=True, eq=False)
class Session:
    """One iteration's inner loop while its container lives. Made by `InnerLoop.session`; the supervisor reads it."""

    execution: Execution
    number: int
    prompt: str
    conversation: Conversation
    tools: ToolContext
    ended: asyncio.Future[FinalResponse]
    calls: AgentCalls
    output: RunningOutput = field(default_factory=RunningOutput)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    step: asyncio.Task[dict[str, Any]] | None = None

    @property
    def contacted(self) -> bool:
        """Whether the container has reached us at all."""
        return self.conversation.contacted


class LoopStore(Protocol):
    """`aegis.ports.Store`, as far as the inner loop asks it."""

    async def save_inner_loop(
        self, execution_id: str, iteration: int, state: Mapping[str, Any], events: Sequence[Event] = ()
    ) -> None: ...
    async def load_inner_loop(self, execution_id: str, iteration: int) -> Mapping[str, Any] | None: ...
    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]: ...


class Models(Protocol):
    """`aegis.services.model_calls.ModelCalls`."""

    async def ask(
        self,
        alias: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        context: ModelContext,
        journal: Journal,
    ) -> tuple[ModelReply, ModelUsage]: ...
