"""OpenAI's chat completions, and everything compatible with them (Ollama, vLLM, LM Studio, ...), by the official SDK.

Chat completions and not the newer responses API: the compatible servers speak the former. What comes back is checked
here, not believed: local models answer arguments that are no JSON, calls without ids, and calls of nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from aegis.adapters.llm.failures import Provider
from aegis.adapters.llm.names import ToolNames
from aegis.adapters.llm.settings import ModelSettings
from aegis.errors import Refused
from aegis.ports import Message, ModelContext, ModelReply, ToolCall, ToolSpec

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
            max_retries=settings.max_retries,
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
        try:
            answer = await self._client.chat.completions.create(**body)
        except openai.APIStatusError as error:
            raise self._provider.answered(error.status_code, error.message) from error
        except openai.APIConnectionError as error:  # its subclass APITimeoutError as well
            raise self._provider.silent(f"{type(error).__name__}: {error.__cause__ or error}") from error
        except (openai.OpenAIError, ValueError) as error:
            raise self._provider.unusable(f"{type(error).__name__}: {error}") from error
        return self._read(answer, names)

    def _read(self, answer: ChatCompletion | Any, names: ToolNames) -> ModelReply:
        """The SDK builds its types without checking them: a server's `null` is where a list should be."""
        choices = getattr(answer, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise self._provider.unusable("no choices")
        message = choices[0].message
        calls = tuple(_call(call, index, names) for index, call in enumerate(message.tool_calls or ()))
        usage = answer.usage
        return ModelReply(
            content=message.content or getattr(message, "refusal", None) or "",
            tool_calls=calls,
            input_tokens=(usage.prompt_tokens or 0) if usage else 0,
            output_tokens=(usage.completion_tokens or 0) if usage else 0,
        )

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


def _call(call: Any, index: int, names: ToolNames) -> ToolCall:
    function = getattr(call, "function", None)
    name = names.ours(getattr(function, "name", None) or "")
    text = getattr(function, "arguments", None) or "{}"
    arguments, error = read_arguments(text)
    return ToolCall(id=call.id or f"call_{index}", name=name, arguments=arguments, arguments_error=error)


def read_arguments(text: str | dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The arguments, or {} and why they could not be read. Some servers send the object itself instead of its text."""
    if isinstance(text, dict):
        return text, ""
    try:
        value = json.loads(text)
    except ValueError as error:
        return {}, f"the arguments are no JSON: {error}"
    if not isinstance(value, dict):
        return {}, f"the arguments are a JSON {type(value).__name__}, wanted an object"
    return value, ""
