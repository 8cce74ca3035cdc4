"""The adapters, and the repetition above them, against an implementation of both APIs that is not ours (LLMock).

Its verdict is part of the claims: it has seen every attempt and its time, and fails a client that comes back before
Retry-After is over, repeats what cannot pass, or takes a stream that was cut for an answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from aegis.adapters.llm import Models, ModelSettings
from aegis.errors import ModelContextTooLong, ModelFailed
from aegis.ports import Message, ModelContext, ModelReply, ModelTerms, ToolSpec
from aegis.services.model_calls import ModelCalls
from aegis.services.recorder import EventRecorder, Journal
from aegis.services.timing import Retries, SystemClock
from tests.support import samples
from tests.support.llmock_server import LLMock, llmock
from tests.support.memory_store import MemoryStore

TOOLS = [
    ToolSpec(name, "Does it", {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
    for name in ("fs.read", "fs.list")
]
ASK = [Message("system", "Be brief."), Message("user", "Hello")]
QUICK = Retries(pause_seconds=0.01)


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMock]:
    with llmock(tmp_path_factory.mktemp("llmock"), "--tool-mode", "off", "--context-window", "2000") as server:
        yield server


@dataclass
class Client:
    mock: LLMock
    calls: ModelCalls
    store: MemoryStore
    journal: Journal

    async def ask(self, messages: list[Message] = ASK, tools: list[ToolSpec] = TOOLS) -> ModelReply:
        reply, _ = await self.calls.ask("default", messages, tools, self.context, self.journal)
        return reply

    @property
    def context(self) -> ModelContext:
        return ModelContext(self.journal.execution_id, "agent", 1)

    async def told(self) -> list[tuple[str, Any]]:
        events = await self.store.list_events(self.journal.execution_id)
        return [(event.kind, event.data.get("reason")) for event in events]


@pytest.fixture(params=["openai", "anthropic"])
async def client(request: pytest.FixtureRequest, mock: LLMock) -> AsyncIterator[Client]:
    mock.reset()
    settings = ModelSettings(
        provider=request.param, model="m", base_url=mock.base_url(request.param), api_key="k", timeout_seconds=20
    )
    models = Models({"default": settings, "other": settings}, {"default": ModelTerms(attempts_max=4)})
    store, clock = MemoryStore(), SystemClock()
    execution = samples.execution()
    await store.add_execution(execution)
    calls = ModelCalls(store=store, models=models, clock=clock, retries=QUICK)
    yield Client(mock, calls, store, Journal(EventRecorder(store), clock, execution.id, 1))
    await models.close()


def passed(mock: LLMock) -> bool:
    verdict = mock.verdict()
    assert verdict["passed"], verdict["findings"]
    return True


async def test_words_and_what_they_cost(client: Client) -> None:
    client.mock.next({"type": "reply", "text": "Hello to you, in several words."})
    reply = await client.ask()
    assert reply.content == "Hello to you, in several words."
    assert reply.input_tokens > 0 < reply.output_tokens
    [usage] = await client.store.list_usage(client.journal.execution_id)
    assert (usage.calls, usage.input_tokens, usage.output_tokens) == (1, reply.input_tokens, reply.output_tokens)


async def test_calls_in_parallel_and_their_results_make_one_conversation(client: Client) -> None:
    wanted = [{"name": "fs_read", "arguments": {"path": "/a"}}, {"name": "fs_list", "arguments": {"path": "/"}}]
    client.mock.next({"type": "reply", "tool_calls": wanted}, {"type": "reply", "text": "done"})
    first = await client.ask()
    assert [(call.name, dict(call.arguments)) for call in first.tool_calls] == [
        ("fs.read", {"path": "/a"}),
        ("fs.list", {"path": "/"}),
    ]
    assert len({call.id for call in first.tool_calls}) == 2
    results = [Message("tool", "fine", tool_call_id=call.id) for call in first.tool_calls]
    reply = await client.ask([*ASK, Message("assistant", first.content, first.tool_calls), *results])
    assert (reply.content, reply.tool_calls) == ("done", ())
    assert passed(client.mock)


async def test_arguments_that_are_no_json_are_the_models_to_mend(client: Client) -> None:
    client.mock.next(
        {"type": "reply", "tool_calls": [{"name": "fs_read", "arguments": {"path": "/a/long/path"}}]},
        {"type": "tool_fault", "kind": "malformed_arguments"},
    )
    [call] = (await client.ask()).tool_calls
    assert (call.name, dict(call.arguments)) == ("fs.read", {})
    assert "no JSON" in call.arguments_error


async def test_a_limited_rate_is_waited_for_as_long_as_the_provider_says(client: Client) -> None:
    client.mock.next(
        {"type": "fail", "status": 429, "retry_after": 1, "times": 2}, {"type": "reply", "text": "at last"}
    )
    assert (await client.ask()).content == "at last"
    assert await client.told() == [("model.failed", "rate_limited")] * 2
    assert passed(client.mock)


async def test_an_outage_is_given_up_after_the_agreed_attempts(client: Client) -> None:
    client.mock.next({"type": "fail", "status": 503, "times": None})
    with pytest.raises(ModelFailed, match=r"HTTP 503.*given up after 4 attempts") as raised:
        await client.ask()
    assert not raised.value.retryable
    assert len(client.mock.requests()) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_cannot_pass_is_asked_once(client: Client, status: int) -> None:
    client.mock.next({"type": "fail", "status": status, "times": None})
    with pytest.raises(ModelFailed):
        await client.ask()
    assert len(client.mock.requests()) == 1


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_cut_in_the_middle_is_asked_again_and_nothing_half_is_taken(
    client: Client, kind: str, after: int
) -> None:
    reply = {"type": "reply", "text": "one two three four five six seven", "times": 2}
    client.mock.next(reply, {"type": "stream_fault", "kind": kind, "after_chunks": after})
    assert (await client.ask()).content == "one two three four five six seven"
    [(told, _)] = await client.told()
    assert told == "model.failed"
    assert passed(client.mock)


async def test_a_call_cut_in_the_middle_is_not_made(client: Client) -> None:
    wanted = {"type": "reply", "tool_calls": [{"name": "fs_read", "arguments": {"path": "/a/rather/long/path"}}]}
    client.mock.next({**wanted, "times": 2}, {"type": "stream_fault", "kind": "truncate", "after_chunks": 3})
    [call] = (await client.ask()).tool_calls
    assert dict(call.arguments) == {"path": "/a/rather/long/path"}
    assert await client.told() == [("model.failed", "stream_cut")]
    assert passed(client.mock)


async def test_a_conversation_longer_than_the_context_is_told_apart_and_asked_once(client: Client) -> None:
    with pytest.raises(ModelContextTooLong, match="too long for its context"):
        await client.ask([*ASK, Message("user", "many words " * 4000)])
    assert len(client.mock.requests()) == 1
