"""A language model that answers by a plan: for each iteration its turns, the last iteration's repeated.

Which turn it is follows from the conversation, as with the `script` provider: a daemon that starts again goes on right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aegis.errors import AegisError, NotFound
from aegis.ports import LanguageModel, Message, ModelContext, ModelReply, ModelTerms, ToolCall, ToolSpec

Turn = ModelReply | AegisError


def call(name: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(f"call-{name}", name, arguments)


def answer(content: str = "", *calls: ToolCall) -> ModelReply:
    return ModelReply(content, tuple(calls), input_tokens=10, output_tokens=5)


class FakeModel:
    def __init__(self, *iterations: Sequence[Turn]) -> None:
        self.iterations = iterations
        self.agents: dict[str, Sequence[Sequence[Turn]]] = {}  # the plans of others: judges by their names, agents
        self.failures: list[AegisError] = []  # raised first, one a call
        self.hang = False
        self.asked: list[tuple[ModelContext, tuple[Message, ...], tuple[str, ...]]] = []

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], context: ModelContext
    ) -> ModelReply:
        self.asked.append((context, tuple(messages), tuple(tool.name for tool in tools)))
        await asyncio.sleep(0)
        if self.hang:
            await asyncio.Event().wait()
        if self.failures:
            raise self.failures.pop(0)
        iterations = self.agents.get(context.agent_name, self.iterations)
        turns = iterations[min(context.iteration, len(iterations)) - 1]
        done = sum(message.role == "assistant" for message in messages)
        turn = turns[min(done, len(turns) - 1)]
        if isinstance(turn, AegisError):
            raise turn
        return turn

    async def close(self) -> None:
        return None


class FakeModels:
    def __init__(self, model: FakeModel) -> None:
        self.model = model
        self.aliases = ("default",)

    def get(self, alias: str) -> LanguageModel:
        if alias not in self.aliases:
            raise NotFound(f"There is no model {alias}; there are: default")
        return self.model

    def terms(self, alias: str) -> ModelTerms:
        self.get(alias)
        return ModelTerms()
