"""OpenAI's chat completions, and everything compatible with them (Ollama, vLLM, LM Studio, ...), by the official SDK.

Chat completions and not the newer responses API: the compatible servers speak the former. What comes back is checked
here, not believed: local models answer arguments that are no JSON, calls without ids, and calls of nothing. Answers are
streamed, so that a proxy that ends silent connections does not end long answers; what is taken is the whole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal

import httpx
import openai

from aegis.adapters.llm.draft import Draft
from aegis.adapters.llm.failures import TOO_LONG, Provider, error_of
from aegis.adapters.llm.names import ToolNames
from aegis.adapters.llm.settings import ModelSettings
from aegis.errors import Refused
from aegis.ports import Message, ModelContext, ModelReply, ToolSpec

DEFAULT_URL = "https://api.openai.com/v1"
KEYLESS = "none"  # the SDK insists on a key; local servers ignore it


class OpenAIModel:
    """One alias. Owns an HTTP client; `close` frees it."""

    def __init__(self, alias: str, settings: ModelSettings) -> None:
        if not settings.model:
            raise Refused(f"Model alias {alias} names no model", next_step=f"Set models.{alias}.model")
        if not settings.api_key and not settings.base_url:
            raise Refused(f"Model alias {alias} has no API key", next_step=f"Set models.{alias}.api_key")
        address = settings.base_url or DEFAULT_URL
        self._settings = settings
        self._provider = Provider("openai", alias, address, (settings.api_key or "",))
        self._client = openai.AsyncOpenAI(
            api_key=settings.api_key or KEYLESS,
            base_url=address,
            timeout=settings.timeout_seconds,
            max_retries=0,
        )

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], context: ModelContext
    ) -> ModelReply:
        """ModelFailed. Arguments that are no JSON object are `ToolCall.arguments_error`, for the model to read."""
        names = ToolNames(tool.name for tool in tools)
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [to_wire(message, names) for message in messages],
        }
        if tools:
            body["tools"] = [_tool(tool, names) for tool in tools]
        if self._settings.max_tokens is not None:
            body["max_tokens"] = self._settings.max_tokens
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        if self._settings.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        draft = Draft(self._provider)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                answer = await self._client.chat.completions.create(**body)
                if self._settings.stream:
                    await self._gather(answer, draft)
                else:
                    _take(answer, draft, "message")
        except TimeoutError as error:
            raise self._provider.late(self._settings.timeout_seconds) from error
        except openai.APIStatusError as error:
            code, message = error_of(error.body)
            headers = error.response.headers
            raise self._provider.answered(
                error.status_code, message or error.message, code=code, headers=headers
            ) from error
        except openai.APITimeoutError as error:
            raise self._provider.late(self._settings.timeout_seconds) from error
        except openai.APIConnectionError as error:
            raise self._provider.silent(f"{type(error).__name__}: {error.__cause__ or error}") from error
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
            # The SDK builds its types without checking them: a server's `null` is where a list should be.
            raise self._provider.unusable(f"{type(error).__name__}: {error}") from error
        return draft.reply(names)

    async def _gather(self, stream: Any, draft: Draft) -> None:
        """The stream to its end. Whatever breaks it off is a cut answer: raw errors of HTTP, a piece that is no JSON,
        an error sent in its middle (which the SDK raises without a status)."""
        try:
            async for chunk in stream:
                _take(chunk, draft, "delta")
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise self._provider.cut(f"{type(error).__name__}: {error}") from error
        except openai.APIError as error:
            code, message = error_of(error.body)
            if TOO_LONG.search(f"{code} {message}"):
                raise self._provider.too_long(message) from error
            raise self._provider.cut(message or error.message) from error

    async def close(self) -> None:
        await self._client.close()


def to_wire(message: Message, names: ToolNames) -> dict[str, Any]:
    """One turn as chat completions have it."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        # Some servers refuse "" beside tool calls; all take null.
        wire["content"] = message.content or None
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": names.wire(call.name), "arguments": json.dumps(dict(call.arguments))},
            }
            for call in message.tool_calls
        ]
    return wire


def _tool(tool: ToolSpec, names: ToolNames) -> dict[str, Any]:
    function = {"name": names.wire(tool.name), "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _take(answer: Any, draft: Draft, part: Literal["delta", "message"]) -> None:
    """A piece of a streamed answer (`delta`), or a whole one (`message`)."""
    usage = getattr(answer, "usage", None)
    if usage is not None:
        draft.input_tokens = usage.prompt_tokens or 0
        draft.output_tokens = usage.completion_tokens or 0
    for choice in (getattr(answer, "choices", None) or ())[:1]:
        draft.empty = False
        said = getattr(choice, part, None)
        if said is not None:
            draft.text(said.content)
            draft.refusal(getattr(said, "refusal", None))
            for position, call in enumerate(said.tool_calls or ()):
                _take_call(call, position, draft)
        draft.finish = choice.finish_reason or draft.finish or ("stop" if part == "message" and said else None)


def _take_call(call: Any, position: int, draft: Draft) -> None:
    """Pieces of a streamed call have its index. Servers that send none send each call whole, told apart by its id."""
    function = getattr(call, "function", None)
    index = getattr(call, "index", None)
    draft.call(
        index if index is not None else call.id or f"at {position}",
        id=call.id,
        name=getattr(function, "name", None),
        arguments=getattr(function, "arguments", None),
    )
