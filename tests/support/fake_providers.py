"""OpenAI's and Anthropic's APIs as far as they bite: they check what they are sent as the real ones do, then answer
what the test set. Real HTTP on loopback; the official SDKs speak to them.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
KEY = "sk-test-0123456789abcdef"


@dataclass
class Fault:
    """`status` 0: accept and never answer; -1: cut the connection."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Provider:
    """`faults` come first, one each request; then `answers`, one each; then the last of them, or
    `answer`, for ever."""

    answer: dict[str, Any]
    answers: list[dict[str, Any]] = field(default_factory=list)
    key: str = KEY
    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    events_max: int | None = None  # the stream ends after so many, as if it were complete

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        if self.faults:
            fault = self.faults.pop(0)
            if fault.status == 0:
                await self.released.wait()
                return web.Response(status=500)
            if fault.status == -1:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if isinstance(fault.body, str):
                return web.Response(status=fault.status, text=fault.body, content_type="application/json")
            fallback = {"error": {"message": "so it is"}}
            return web.json_response(fault.body or fallback, status=fault.status, headers=fault.headers)
        if complaint := self.check(request, body):
            return web.json_response({"error": {"type": "invalid_request_error", "message": complaint}}, status=400)
        if self.answers:
            self.answer = self.answers.pop(0)
        if not body.get("stream"):
            return web.json_response(self.answer)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for event in self.events(body)[: self.events_max]:
            name = f"event: {event['type']}\n" if "type" in event else ""
            await stream.write(f"{name}data: {json.dumps(event)}\n\n".encode())
        return stream

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """`answer` as a stream."""
        raise NotImplementedError

    def check(self, request: web.Request, body: dict[str, Any]) -> str:
        raise NotImplementedError


class FakeOpenAI(Provider):
    path = "/v1/chat/completions"

    def check(self, request: web.Request, body: dict[str, Any]) -> str:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return "wrong key"
        names = [tool["function"]["name"] for tool in body.get("tools", [])]
        asked: set[str] = set()
        for message in body["messages"]:
            for call in message.get("tool_calls", []):
                names.append(call["function"]["name"])
                asked.add(call["id"])
            if message["role"] == "tool" and message["tool_call_id"] not in asked:
                return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
        bad = [name for name in names if not NAME.fullmatch(name)]
        return f"string does not match pattern: {bad[0]}" if bad else ""

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        [choice] = self.answer["choices"]
        message = choice["message"]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in pieces(message["content"] or "")]
        if message.get("refusal"):
            deltas.append({"refusal": message["refusal"]})
        for index, call in enumerate(message["tool_calls"] or ()):
            head = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
            deltas.append({"tool_calls": [head]})
            for piece in pieces(call["function"]["arguments"]):
                deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
        chunks.append({**base, "choices": [end]})
        if body.get("stream_options", {}).get("include_usage"):
            chunks.append({**base, "choices": [], "usage": self.answer["usage"]})
        return chunks


def pieces(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)]


class FakeAnthropic(Provider):
    path = "/v1/messages"

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        usage = self.answer["usage"]
        start = {**self.answer, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
        for index, block in enumerate(self.answer["content"]):
            if block["type"] == "text":
                empty = {**block, "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            else:
                empty = {**block, "input": {}}
                text = block["input"] if isinstance(block["input"], str) else json.dumps(block["input"])
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(text)]]
            events.append({"type": "content_block_start", "index": index, "content_block": empty})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": self.answer["stop_reason"], "stop_sequence": None}
        output = {"output_tokens": usage["output_tokens"]}
        return [*events, {"type": "message_delta", "delta": delta, "usage": output}, {"type": "message_stop"}]

    def check(self, request: web.Request, body: dict[str, Any]) -> str:
        if request.headers.get("x-api-key") != self.key:
            return "wrong key"
        if "max_tokens" not in body:
            return "max_tokens: Field required"
        previous, open_calls = "", set()
        for turn in body["messages"]:
            if turn["role"] == previous:
                return "roles must alternate"
            previous = turn["role"]
            results = {block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result"}
            if open_calls - results:
                return "tool_use ids were found without tool_result blocks immediately after"
            open_calls = {block["id"] for block in turn["content"] if block["type"] == "tool_use"}
            if any(block["type"] == "text" and not block["text"] for block in turn["content"]):
                return "text content blocks must be non-empty"
        bad = [tool["name"] for tool in body.get("tools", []) if not NAME.fullmatch(tool["name"])]
        return f"tools: string should match pattern: {bad[0]}" if bad else ""


async def serve(provider: Provider) -> web.AppRunner:
    """Listening when it returns, with `url` set; the caller cleans the runner up."""
    app = web.Application()
    app.router.add_post(provider.path, provider.handle)  # type: ignore[attr-defined]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner
