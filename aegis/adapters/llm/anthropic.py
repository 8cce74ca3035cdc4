"""Anthropic's messages API, by the official SDK.

The shapes differ from ours: system text stands apart, tool calls and results are blocks of assistant and user turns,
and turns alternate. So neighbouring turns of one side are joined: the results of one answer's calls are one user turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import anthropic
import httpx

from aegis.adapters.llm.draft import Draft
from aegis.adapters.llm.failures import Provider, error_of
from aegis.adapters.llm.names import ToolNames
from aegis.adapters.llm.settings import DEFAULT_MAX_TOKENS, ModelSettings
from aegis.errors import ModelFailed, Refused
from aegis.ports import Message, ModelContext, ModelReply, ToolSpec

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
            max_retries=0,
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
        draft = Draft(self._provider)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                if self._settings.stream:
                    await self._gather(await self._client.messages.create(**body, stream=True), draft)
                else:
                    _take_whole(await self._client.messages.create(**body), draft)
        except TimeoutError as error:
            raise self._provider.late(self._settings.timeout_seconds) from error
        except anthropic.APIStatusError as error:
            raise self._told(error) from error
        except anthropic.APITimeoutError as error:
            raise self._provider.late(self._settings.timeout_seconds) from error
        except anthropic.APIConnectionError as error:
            raise self._provider.silent(f"{type(error).__name__}: {error.__cause__ or error}") from error
        except (anthropic.AnthropicError, ValueError, AttributeError, TypeError) as error:
            raise self._provider.unusable(f"{type(error).__name__}: {error}") from error
        return draft.reply(names)

    async def _gather(self, stream: Any, draft: Draft) -> None:
        """The stream to its end; whatever breaks it off is a cut answer."""
        try:
            async for event in stream:
                _take(event, draft)
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise self._provider.cut(f"{type(error).__name__}: {error}") from error

    def _told(self, error: anthropic.APIStatusError) -> ModelFailed:
        """An error's answer. One in the middle of a stream has the stream's own status, 200: its type says what."""
        code, message = error_of(error.body)
        detail = message or error.message
        if error.status_code < 400:
            return self._provider.cut(f"{code}: {detail}")
        return self._provider.answered(error.status_code, detail, code=code, headers=error.response.headers)

    async def close(self) -> None:
        await self._client.close()


def _take_whole(answer: Any, draft: Draft) -> None:
    for index, block in enumerate(answer.content):
        _take_block(block, index, draft)
    draft.empty = False
    draft.finish = answer.stop_reason
    draft.input_tokens = answer.usage.input_tokens or 0
    draft.output_tokens = answer.usage.output_tokens or 0


def _take_block(block: Any, index: int, draft: Draft) -> None:
    if block.type == "text":
        draft.text(block.text)
    elif block.type == "tool_use":
        draft.call(index, id=block.id, name=block.name, arguments=None if block.input == {} else block.input)


def _take(event: Any, draft: Draft) -> None:
    """One event of a stream (its types: https://docs.claude.com/en/docs/build-with-claude/streaming). A tool's input
    comes as pieces of JSON text, and is read when it is whole: the SDK's own reading would raise for bad JSON."""
    draft.empty = False
    if event.type == "message_start":
        draft.input_tokens = event.message.usage.input_tokens or 0
    elif event.type == "content_block_start":
        _take_block(event.content_block, event.index, draft)
    elif event.type == "content_block_delta":
        if event.delta.type == "text_delta":
            draft.text(event.delta.text)
        elif event.delta.type == "input_json_delta":
            draft.call(event.index, arguments=event.delta.partial_json)
    elif event.type == "message_delta":
        draft.finish = event.delta.stop_reason or draft.finish
        draft.output_tokens = event.usage.output_tokens or 0


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
