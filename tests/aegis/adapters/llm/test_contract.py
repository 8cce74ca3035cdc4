"""What both network providers promise alike: each test runs against each, over real HTTP with the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from aegis.adapters.llm import ModelSettings
from aegis.adapters.llm.registry import create_model
from aegis.errors import ModelFailed
from aegis.ports import LanguageModel, Message, ModelContext, ToolCall, ToolSpec
from tests.support.fake_providers import KEY, FakeAnthropic, FakeOpenAI, Fault, Provider, serve

CONTEXT = ModelContext("e", "agent", 1)
TOOLS = [ToolSpec("cmd.run", "Run a command", {"type": "object", "properties": {"command": {"type": "string"}}})]
ASK = [Message("system", "Be brief."), Message("user", "Hello")]


def openai_answer(content: str | None, *calls: tuple[str, str, str]) -> dict[str, Any]:
    tool_calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": text}} for id, name, text in calls
    ]
    message = {"role": "assistant", "content": content, "tool_calls": tool_calls or None}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def anthropic_answer(content: str | None, *calls: tuple[str, str, Any], stop: str = "end_turn") -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": content}] if content else []
    blocks += [{"type": "tool_use", "id": id, "name": name, "input": value} for id, name, value in calls]
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }


@dataclass
class Pair:
    kind: str
    provider: Provider
    model: LanguageModel
    runner: Any

    def answers(self, content: str | None, *calls: tuple[str, str, dict[str, Any]]) -> None:
        import json

        if self.kind == "openai":
            self.provider.answer = openai_answer(content, *((i, n, json.dumps(v)) for i, n, v in calls))
        else:
            self.provider.answer = anthropic_answer(content, *calls)


def settings(kind: Any, url: str, **changes: Any) -> ModelSettings:
    base = f"{url}/v1" if kind == "openai" else url
    values = {"model": "m", "base_url": base, "api_key": KEY, "timeout_seconds": 5.0, "max_retries": 0, **changes}
    return ModelSettings(provider=kind, **values)


@pytest.fixture(params=["openai", "anthropic"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    kind = request.param
    provider = FakeOpenAI(openai_answer("hi")) if kind == "openai" else FakeAnthropic(anthropic_answer("hi"))
    runner = await serve(provider)
    model = create_model("default", settings(kind, provider.url))
    yield Pair(kind, provider, model, runner)
    await model.close()
    provider.released.set()
    await runner.cleanup()


async def test_an_answer_in_words(pair: Pair) -> None:
    reply = await pair.model.complete(ASK, [], CONTEXT)
    assert (reply.content, reply.tool_calls, reply.input_tokens, reply.output_tokens) == ("hi", (), 7, 3)


async def test_tool_names_with_dots_go_there_and_back(pair: Pair) -> None:
    pair.answers(None, ("a", "cmd_run", {"command": "ls"}))
    reply = await pair.model.complete(ASK, TOOLS, CONTEXT)
    assert reply.tool_calls == (ToolCall("a", "cmd.run", {"command": "ls"}),)


async def test_several_calls_of_one_answer_and_their_results_are_one_conversation(pair: Pair) -> None:
    calls = (ToolCall("a", "cmd.run", {"command": "ls"}), ToolCall("b", "fs.read", {"path": "/x"}))
    conversation = [
        *ASK,
        Message("assistant", "", calls),
        Message("tool", "x", tool_call_id="a"),
        Message("tool", "", tool_call_id="b"),
        Message("user", "Go on"),
    ]
    assert (await pair.model.complete(conversation, TOOLS, CONTEXT)).content == "hi"


async def test_a_tool_the_model_made_up_comes_back_under_its_own_name(pair: Pair) -> None:
    pair.answers("", ("a", "rm_rf", {}))
    reply = await pair.model.complete(ASK, TOOLS, CONTEXT)
    assert reply.tool_calls[0].name == "rm_rf"


@pytest.mark.parametrize(
    ("status", "retryable", "says"),
    [(401, False, "api_key"), (404, False, "base_url"), (400, False, ""), (429, True, "limits"), (500, True, "")],
)
async def test_a_refusal_says_whether_to_try_again_and_what_to_change(
    pair: Pair, status: int, retryable: bool, says: str
) -> None:
    pair.provider.faults = [Fault(status, {"error": {"message": f"wrong key {KEY} or sk-abc*****xyz"}})]
    with pytest.raises(ModelFailed, match=rf"default \({pair.kind}\): HTTP {status}") as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert raised.value.retryable is retryable
    assert says in raised.value.next_step
    assert "sk-" not in str(raised.value)


async def test_a_passing_fault_is_retried_a_bounded_number_of_times(pair: Pair) -> None:
    model = create_model("patient", settings(pair.kind, pair.provider.url, max_retries=2))
    pair.provider.faults = [Fault(500), Fault(-1)]
    assert (await model.complete(ASK, [], CONTEXT)).content == "hi"
    pair.provider.faults = [Fault(503), Fault(503), Fault(503)]
    with pytest.raises(ModelFailed, match="HTTP 503"):
        await model.complete(ASK, [], CONTEXT)
    assert len(pair.provider.requests) == 6
    await model.close()


async def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    model = create_model("hasty", settings(pair.kind, pair.provider.url, timeout_seconds=0.05))
    pair.provider.faults = [Fault(0)]
    with pytest.raises(ModelFailed, match=r"does not answer at http://127\.0\.0\.1") as raised:
        await model.complete(ASK, [], CONTEXT)
    assert raised.value.retryable
    await model.close()


async def test_nobody_there_names_the_address(pair: Pair) -> None:
    await pair.runner.cleanup()
    with pytest.raises(ModelFailed, match=r"does not answer at http://127\.0\.0\.1") as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert "base_url" in raised.value.next_step


@pytest.mark.parametrize("body", ["", "nonsense", "[]", "{}", "null", '{"choices": [], "content": null}'])
async def test_an_answer_that_is_none_is_a_failure_and_not_a_crash(pair: Pair, body: str) -> None:
    pair.provider.faults = [Fault(200, body)]
    with pytest.raises(ModelFailed):
        await pair.model.complete(ASK, [], CONTEXT)


async def test_arguments_that_are_no_json_go_back_to_the_model() -> None:
    provider = FakeOpenAI(openai_answer(None, ("a", "cmd_run", "{oops"), ("b", "cmd_run", "[1]"), ("", "cmd_run", "")))
    runner = await serve(provider)
    model = create_model("default", settings("openai", provider.url))
    reply = await model.complete(ASK, TOOLS, CONTEXT)
    first, second, third = reply.tool_calls
    assert "no JSON" in first.arguments_error
    assert "wanted an object" in second.arguments_error
    assert (third.id, third.arguments, third.arguments_error) == ("call_2", {}, "")
    await model.close()
    await runner.cleanup()


async def test_a_call_cut_by_the_token_limit_is_not_carried_out() -> None:
    answer = anthropic_answer("", ("a", "cmd_run", {}), ("b", "cmd_run", {}), stop="max_tokens")
    provider = FakeAnthropic(answer)
    runner = await serve(provider)
    model = create_model("default", settings("anthropic", provider.url))
    first, second = (await model.complete(ASK, TOOLS, CONTEXT)).tool_calls
    assert first.arguments_error == ""
    assert "token limit" in second.arguments_error
    await model.close()
    await runner.cleanup()
