"""Tool calls of processes in one iteration's container, beside the model's: several at once, and none outlives it.

A call goes on when its caller is gone (the reply is lost, the work is done), and ends with `close()`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aegis.errors import Conflict, Overloaded
from aegis.ports import ToolCall
from aegis.services.tools import ToolBox, ToolContext, ToolResult

AT_ONCE_MAX: Final = 8


class AgentCalls:
    def __init__(self, tools: ToolBox, context: ToolContext) -> None:
        self._tools = tools
        self._context = context
        self._running: set[asyncio.Task[ToolResult]] = set()

    async def call(self, call: ToolCall) -> ToolResult:
        """Overloaded: as many as can be are under way; Conflict: the iteration ended meanwhile."""
        execution = self._context.execution
        if len(self._running) >= AT_ONCE_MAX:
            raise Overloaded(f"{AT_ONCE_MAX} calls of execution {execution.id} are under way, no more can be")
        task = asyncio.create_task(self._call(call), name=f"agent's call {execution.id}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Conflict(f"The iteration of execution {execution.id} is over") from None
            raise

    async def close(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _call(self, call: ToolCall) -> ToolResult:
        result = await self._tools.call(call, self._context, "agent")
        assert isinstance(result, ToolResult), "a tool that dispatches is denied to who is in the container"
        return result

    def _ended(self, task: asyncio.Task[ToolResult]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its caller may be gone
