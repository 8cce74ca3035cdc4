"""What is said to a language model and by it, and on which terms: values that every provider's words become.

`aegis.ports` gives them out again beside the ports that speak them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON Schema


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: Mapping[str, Any]
    arguments_error: str = ""  # why the model's arguments could not be read; the text goes back to the model


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `tool_call_id` with role tool only; `tool_calls` with role assistant only."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class Finish(StrEnum):
    """Why the answer ended: by itself, at the token limit, or because the model or its provider will not answer."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class ModelReply:
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    finish: Finish = Finish.STOP


@dataclass(frozen=True, slots=True)
class ModelContext:
    """What the `script` provider picks its answers by; real providers ignore it. `attempt` counts the tries of this one
    answer, from 1."""

    execution_id: str
    agent_name: str
    iteration: int
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens, in whatever currency the operator counts."""

    input: float
    output: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        return (self.input * input_tokens + self.output * output_tokens) / 1_000_000


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """How an alias is used: how often one answer is tried, who answers when it does not, what it costs."""

    attempts_max: int = 4
    fallback: str | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one alias has answered in one iteration. `cost` is None where the alias has no price."""

    iteration: int
    alias: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None = None
