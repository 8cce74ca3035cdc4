"""Anthropic's messages API, by the official SDK.

The shapes differ from ours: system text stands apart, tool calls and results are blocks of assistant and user turns,
and turns alternate. So neighbouring turns of one side are joined: the results of one answer's calls are one user turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anthropic

from aegis.adapters.llm.failures import Provider
from aegis.adapters.llm.names import ToolNames
from aegis.adapters.llm.settings import DEFAULT_MAX_TOKENS, ModelSettings
from aegis.errors import Refused
from aegis.ports import Message, ModelContext, ModelReply, ToolCall, ToolSpec

DEFAULT_URL = "https://api.anthropic.com"
NOTHING_SAID = "(nothing)"  # the API refuses empty text


class AnthropicModel:
    """One alias. Owns an HTTP client; `close` frees it."""

    def __init__(self, alias: str, settings: ModelSettings) -> None:
        if not settings.model:
            raise Refused(f"Model alias {alias} names no model", next_step=f"Set models.{alias}.model")
        if not settings.api_key:
            raise Refused(f"Model alias {alias} has no API key", next_step=f"Set models.{alias}.api_key")
        self._settings = settings
        self._provider = Provider("anthropic", alias, settings.base_url or DEFAULT_URL, (settings.api_key,))
        self._client = anthropic.AsyncAnthropic(
            api_key=settings.api_key,
            base_url=settings.base_url or DEFAULT_URL,
            timeout=settings.timeout_seconds,
            max_retries=settings.max_retries,
        )

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], context: ModelContext
    ) -> ModelReply:
        """ModelFailed. An answer cut at `max_tokens` in the middle of a tool call is `ToolCall.arguments_error`."""
        names = ToolNames(tool.name for tool in tools)
        system, turns = to_wire(messages, names)
        body: dict[str, Any] = {
            "model": self._settings.model,
            "max_tokens": self._settings.max_tokens or DEFAULT_MAX_TOKENS,
            "messages": turns,
        }
        if system:
            body["system"] = system
        if tools:
            body["tools"] = [
                {"name": names.wire(t.name), "description": t.description, "input_schema": dict(t.parameters)}
                for t in tools
            ]
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        try:
            answer = await self._client.messages.create(**body)
        except anthropic.APIStatusError as error:
            raise self._provider.answered(error.status_code, error.message) from error
        except anthropic.APIConnectionError as error:  # its subclass APITimeoutError as well
            raise self._provider.silent(f"{type(error).__name__}: {error.__cause__ or error}") from error
        except (anthropic.AnthropicError, ValueError) as error:
            raise self._provider.unusable(f"{type(error).__name__}: {error}") from error
        return self._read(answer, names)

    def _read(self, answer: Any, names: ToolNames) -> ModelReply:
        blocks = getattr(answer, "content", None)
        if blocks is None:
            raise self._provider.unusable("no content")
        text = "".join(block.text for block in blocks if block.type == "text")
        calls = [block for block in blocks if block.type == "tool_use"]
        cut = answer.stop_reason == "max_tokens"
        return ModelReply(
            content=text,
            tool_calls=tuple(_call(block, names, cut=cut and block is blocks[-1]) for block in calls),
            input_tokens=answer.usage.input_tokens or 0,
            output_tokens=answer.usage.output_tokens or 0,
        )

    async def close(self) -> None:
        await self._client.close()


def _call(block: Any, names: ToolNames, *, cut: bool) -> ToolCall:
    arguments = block.input if isinstance(block.input, dict) else {}
    error = ""
    if cut:
        error = "the answer reached its token limit in the middle of these arguments; send less at once"
    elif arguments is not block.input:
        error = f"the arguments are a JSON {type(block.input).__name__}, wanted an object"
    return ToolCall(id=block.id, name=names.ours(block.name), arguments=arguments, arguments_error=error)


def to_wire(messages: Sequence[Message], names: ToolNames) -> tuple[str, list[dict[str, Any]]]:
    """The system text, and alternating turns of blocks."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, names)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    return system, turns


def _blocks(message: Message, names: ToolNames) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [
            {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content or NOTHING_SAID}
        ]
    blocks: list[dict[str, Any]] = []
    if message.content.strip() or not message.tool_calls:
        blocks.append({"type": "text", "text": message.content.strip() or NOTHING_SAID})
    blocks += [
        {"type": "tool_use", "id": call.id, "name": names.wire(call.name), "input": dict(call.arguments)}
        for call in message.tool_calls
    ]
    return blocks
