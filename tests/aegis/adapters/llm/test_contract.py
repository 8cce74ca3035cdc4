"""What both network providers promise alike: each test runs against each, over real HTTP with the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from aegis.adapters.llm import ModelSettings
from aegis.adapters.llm.failures import retry_after
from aegis.adapters.llm.registry import create_model
from aegis.errors import ModelContextTooLong, ModelFailed
from aegis.ports import Finish, LanguageModel, Message, ModelContext, ToolCall, ToolSpec
from tests.support.fake_providers import KEY, FakeAnthropic, FakeOpenAI, Fault, Provider, serve

CONTEXT = ModelContext("e", "agent", 1)
TOOLS = [ToolSpec("cmd.run", "Run a command", {"type": "object", "properties": {"command": {"type": "string"}}})]
ASK = [Message("system", "Be brief."), Message("user", "Hello")]


def openai_answer(
    content: str | None, *calls: tuple[str, str, str], finish: str = "stop", refusal: str | None = None
) -> dict[str, Any]:
    tool_calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": text}} for id, name, text in calls
    ]
    message = {"role": "assistant", "content": content, "tool_calls": tool_calls or None, "refusal": refusal}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
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
    values = {"model": "m", "base_url": base, "api_key": KEY, "timeout_seconds": 5.0, **changes}
    return ModelSettings(provider=kind, **values)


@pytest.fixture(params=["openai", "anthropic", "openai, not streamed", "anthropic, not streamed"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    kind, _, manner = request.param.partition(", ")
    provider = FakeOpenAI(openai_answer("hi")) if kind == "openai" else FakeAnthropic(anthropic_answer("hi"))
    runner = await serve(provider)
    model = create_model("default", settings(kind, provider.url, stream=not manner))
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


async def test_one_attempt_is_one_request_whatever_the_fault(pair: Pair) -> None:
    pair.provider.faults = [Fault(503), Fault(-1)]
    with pytest.raises(ModelFailed, match="HTTP 503") as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert (raised.value.retryable, raised.value.reason) == (True, "overloaded")
    with pytest.raises(ModelFailed, match="does not answer at") as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert (raised.value.retryable, raised.value.reason) == (True, "unreachable")
    assert len(pair.provider.requests) == 2


async def test_when_to_come_back_is_the_providers_word(pair: Pair) -> None:
    pair.provider.faults = [Fault(429, headers={"Retry-After": "7"}), Fault(429, headers={"x-should-retry": "false"})]
    with pytest.raises(ModelFailed) as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert (raised.value.reason, raised.value.retry_after_seconds) == ("rate_limited", 7.0)
    with pytest.raises(ModelFailed) as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": "context_length_exceeded", "message": "Your input exceeds what this model takes"}),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}),
        (400, {"message": "This model's maximum context length is 4096 tokens. However, you requested 5000"}),
        (413, {"type": "request_too_large", "message": "Request exceeds the maximum allowed number of bytes"}),
        (500, {"message": "the request exceeds the available context size, try increasing it"}),
    ],
)
async def test_a_conversation_too_long_is_told_apart(pair: Pair, status: int, error: dict[str, str]) -> None:
    pair.provider.faults = [Fault(status, {"error": error})]
    with pytest.raises(ModelContextTooLong, match=r"too long for its context.*models\.default\.fallback") as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert (raised.value.retryable, raised.value.code) == (False, "model_context_too_long")


async def test_a_budget_that_is_spent_does_not_come_back(pair: Pair) -> None:
    pair.provider.faults = [Fault(429, {"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}})]
    with pytest.raises(ModelFailed, match="exceeded your quota") as raised:
        await pair.model.complete(ASK, [], CONTEXT)
    assert not raised.value.retryable


async def test_an_answer_cut_at_the_token_limit_says_so(pair: Pair) -> None:
    pair.provider.answer = ending(pair.kind, "half a sen", length=True)
    reply = await pair.model.complete(ASK, [], CONTEXT)
    assert (reply.content, reply.finish) == ("half a sen", Finish.LENGTH)


async def test_a_refusal_is_told_apart_from_an_answer_and_calls_nothing(pair: Pair) -> None:
    pair.provider.answer = ending(pair.kind, "I will not.", length=False)
    reply = await pair.model.complete(ASK, TOOLS, CONTEXT)
    assert (reply.content, reply.tool_calls, reply.finish) == ("I will not.", (), Finish.REFUSAL)


def ending(kind: str, content: str, *, length: bool) -> dict[str, Any]:
    call = ("a", "cmd_run", {"command": "ls"})
    if kind == "anthropic":
        if length:
            return anthropic_answer(content, stop="max_tokens")
        return anthropic_answer(content, call, stop="refusal")
    if length:
        return openai_answer(content, finish="length")
    return openai_answer(content, ("a", "cmd_run", "{}"), finish="content_filter")


async def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    model = create_model("hasty", settings(pair.kind, pair.provider.url, timeout_seconds=0.05))
    pair.provider.faults = [Fault(0)]
    with pytest.raises(ModelFailed, match=r"not answered completely within 0\.05 s at http://127\.0\.0\.1") as raised:
        await model.complete(ASK, [], CONTEXT)
    assert (raised.value.retryable, raised.value.reason) == (True, "timeout")
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


@pytest.mark.parametrize("stream", [True, False])
async def test_arguments_that_are_no_json_go_back_to_the_model(stream: bool) -> None:
    provider = FakeOpenAI(openai_answer(None, ("a", "cmd_run", "{oops"), ("b", "cmd_run", "[1]"), ("", "cmd_run", "")))
    runner = await serve(provider)
    model = create_model("default", settings("openai", provider.url, stream=stream))
    reply = await model.complete(ASK, TOOLS, CONTEXT)
    first, second, third = reply.tool_calls
    assert "no JSON" in first.arguments_error
    assert "wanted an object" in second.arguments_error
    assert (third.id, third.arguments, third.arguments_error) == ("call_2", {}, "")
    await model.close()
    await runner.cleanup()


async def test_a_streamed_input_that_is_no_json_goes_back_to_the_model() -> None:
    provider = FakeAnthropic(anthropic_answer("", ("a", "cmd_run", '{"command": '), ("b", "cmd_run", {})))
    runner = await serve(provider)
    model = create_model("default", settings("anthropic", provider.url))
    first, second = (await model.complete(ASK, TOOLS, CONTEXT)).tool_calls
    assert "no JSON" in first.arguments_error
    assert second.arguments_error == ""
    await model.close()
    await runner.cleanup()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_call_cut_by_the_token_limit_is_not_carried_out(kind: str, stream: bool) -> None:
    provider: Provider
    if kind == "openai":
        answer = openai_answer("", ("a", "cmd_run", "{}"), ("b", "cmd_run", '{"command": "l'), finish="length")
        provider = FakeOpenAI(answer)
    else:
        provider = FakeAnthropic(anthropic_answer("", ("a", "cmd_run", {}), ("b", "cmd_run", {}), stop="max_tokens"))
    runner = await serve(provider)
    model = create_model("default", settings(kind, provider.url, stream=stream))
    first, second = (await model.complete(ASK, TOOLS, CONTEXT)).tool_calls
    assert first.arguments_error == ""
    assert "token limit" in second.arguments_error
    await model.close()
    await runner.cleanup()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_stream_that_ends_early_at_any_point_is_never_taken_for_an_answer(kind: str) -> None:
    calls = ("a", "cmd_run", {"command": "ls"})
    provider: Provider
    if kind == "openai":
        provider = FakeOpenAI(openai_answer("some words", ("a", "cmd_run", '{"command": "ls"}'), finish="tool_calls"))
    else:
        provider = FakeAnthropic(anthropic_answer("some words", calls, stop="tool_use"))
    runner = await serve(provider)
    model = create_model("default", settings(kind, provider.url))
    whole = await model.complete(ASK, TOOLS, CONTEXT)
    tail = 1 if kind == "anthropic" else 2  # after the reason of the end nothing is missing but numbers
    for count in range(len(provider.events(provider.requests[0])) - tail):
        provider.events_max = count
        with pytest.raises(ModelFailed) as raised:
            await model.complete(ASK, TOOLS, CONTEXT)
        assert raised.value.retryable
    provider.events_max = None
    assert await model.complete(ASK, TOOLS, CONTEXT) == whole
    await model.close()
    await runner.cleanup()


async def test_calls_without_an_index_are_told_apart() -> None:
    provider = FakeOpenAI(openai_answer(None, ("a", "cmd_run", "{}"), ("b", "cmd_run", "{}")))
    runner = await serve(provider)
    events = [event for event in provider.events({}) if not _is_piece(event)]
    for event in events:
        for call in event["choices"][0]["delta"].get("tool_calls", []):
            del call["index"]
            call["function"]["arguments"] = {"command": "ls"}  # the object itself, as some servers send it
    provider.events = lambda body: events  # type: ignore[method-assign]
    model = create_model("default", settings("openai", provider.url))
    reply = await model.complete(ASK, TOOLS, CONTEXT)
    assert reply.tool_calls == tuple(ToolCall(id, "cmd.run", {"command": "ls"}) for id in "ab")
    await model.close()
    await runner.cleanup()


def _is_piece(event: dict[str, Any]) -> bool:
    """A later piece of a call's arguments."""
    return any("id" not in call for call in event["choices"][0]["delta"].get("tool_calls", []))


async def test_an_error_in_the_middle_of_a_stream_is_a_cut_answer() -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    for kind, provider in (
        ("openai", FakeOpenAI(openai_answer("hi"))),
        ("anthropic", FakeAnthropic(anthropic_answer("hi"))),
    ):
        runner = await serve(provider)
        events = [*provider.events({})[:2], overloaded]
        provider.events = lambda body, events=events: events  # type: ignore[method-assign, misc]
        model = create_model("default", settings(kind, provider.url))
        with pytest.raises(ModelFailed, match=r"broke off: .*Overloaded") as raised:
            await model.complete(ASK, [], CONTEXT)
        assert (raised.value.retryable, raised.value.reason) == (True, "stream_cut")
        await model.close()
        await runner.cleanup()


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:42 GMT"}, 42.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOON) == seconds
