"""One answer of a model: how often it is asked for, who else is, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from aegis.errors import AegisError, ModelContextTooLong, ModelFailed
from aegis.metrics import ModelMetrics
from aegis.ports import Message, ModelContext, ModelReply, ModelTerms, ModelUsage, Price, ToolSpec
from aegis.services.model_calls import REST_SECONDS, RETRY_AFTER_SECONDS_MAX, ModelCalls
from aegis.services.recorder import EventRecorder, Journal
from tests.support import samples
from tests.support.clock import FakeClock, settle
from tests.support.memory_store import MemoryStore

ASK = [Message("user", "hello")]
BUSY = "it is busy"


def busy(after: float | None = None) -> ModelFailed:
    return ModelFailed(BUSY, reason="rate_limited", retry_after_seconds=after)


class Model:
    """Fails with `failures`, one an attempt, then answers."""

    def __init__(self, *failures: AegisError, content: str = "hi") -> None:
        self.failures = list(failures)
        self.attempts: list[int] = []
        self.content = content

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], context: ModelContext
    ) -> ModelReply:
        self.attempts.append(context.attempt)
        if self.failures:
            raise self.failures.pop(0)
        return ModelReply(self.content, input_tokens=1000, output_tokens=10)

    async def close(self) -> None: ...


class Node:
    """A few aliases, a clock, and everything that is told and counted."""

    def __init__(self, models: dict[str, Model], terms: dict[str, ModelTerms] | None = None) -> None:
        self.models, self._terms = models, terms or {}
        self.clock, self.store, self.registry = FakeClock(), MemoryStore(), CollectorRegistry()
        self.execution = samples.execution()
        meter = ModelMetrics(self.registry)
        self.calls = ModelCalls(store=self.store, models=self, clock=self.clock, meter=meter)
        self.journal = Journal(EventRecorder(self.store), self.clock, self.execution.id, 1)

    def get(self, alias: str) -> Model:
        return self.models[alias]

    def terms(self, alias: str) -> ModelTerms:
        return self._terms.get(alias, ModelTerms())

    @property
    def aliases(self) -> Sequence[str]:
        return list(self.models)

    async def begin(self, alias: str = "default", iteration: int = 1) -> asyncio.Task[tuple[ModelReply, ModelUsage]]:
        if not await self.store.list_executions():
            await self.store.add_execution(self.execution)
        context = ModelContext(self.execution.id, "agent", iteration)
        task = asyncio.create_task(self.calls.ask(alias, ASK, [], context, self.journal))
        await settle()
        return task

    async def ask(self, iteration: int = 1) -> tuple[ModelReply, ModelUsage]:
        """With as much time as it takes."""
        task = await self.begin(iteration=iteration)
        while not task.done():
            await self.clock.advance(1.0)
        return await task

    async def told(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in await self.store.list_events(self.execution.id) if event.kind == kind]

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


async def test_it_waits_for_as_long_as_the_provider_says_and_not_much_longer() -> None:
    node = Node({"default": Model(busy(40), busy())})
    task = await node.begin()
    await node.clock.advance(39.9)
    assert len(node.models["default"].attempts) == 1
    await node.clock.advance(4.2)  # a tenth more at most
    assert len(node.models["default"].attempts) >= 2
    await node.clock.advance(2.1)
    assert (await task)[0].content == "hi"
    assert node.models["default"].attempts == [1, 2, 3]
    first, second = await node.told("model.failed")
    assert (first["alias"], first["reason"], first["attempt"], first["attempts_max"]) == (
        "default",
        "rate_limited",
        1,
        4,
    )
    assert first["retry_in_seconds"] >= 40 > second["retry_in_seconds"]


async def test_more_patience_than_there_is_is_a_failure_at_once() -> None:
    node = Node({"default": Model(busy(RETRY_AFTER_SECONDS_MAX + 1))})
    with pytest.raises(ModelFailed, match=r"it is busy \(it wants 121 s of patience, more than 120 s\)") as raised:
        await node.ask()
    assert not raised.value.retryable
    assert node.clock.sleeping == 0


async def test_what_is_given_up_is_final_for_everybody_above() -> None:
    node = Node({"default": Model(*[busy()] * 9)}, {"default": ModelTerms(attempts_max=3)})
    with pytest.raises(ModelFailed, match="given up after 3 attempts") as raised:
        await node.ask()
    assert (raised.value.retryable, raised.value.reason) == (False, "rate_limited")
    assert len(node.models["default"].attempts) == 3
    assert node.count("aegis_model_failures_total", alias="default", reason="rate_limited") == 3


FALLBACK = {"default": ModelTerms(attempts_max=2, fallback="other")}


async def test_the_fallback_answers_when_the_first_is_exhausted_and_an_event_says_so() -> None:
    node = Node({"default": Model(busy(), busy()), "other": Model(content="instead")}, FALLBACK)
    reply, usage = await node.ask()
    assert (reply.content, usage.alias) == ("instead", "other")
    [told] = await node.told("model.fallback")
    assert (told["alias"], told["fallback"], told["reason"]) == ("default", "other", "rate_limited")
    assert "given up after 2 attempts" in told["error"]
    assert node.count("aegis_model_fallbacks_total", alias="default", fallback="other") == 1


async def test_an_exhausted_alias_rests_for_a_while_and_is_asked_again_after_it() -> None:
    node = Node({"default": Model(busy(), busy()), "other": Model(content="instead")}, FALLBACK)
    await node.ask()
    assert (await node.ask())[1].alias == "other"
    assert len(node.models["default"].attempts) == 2, "it was passed over"
    await node.clock.advance(REST_SECONDS)
    assert (await node.ask())[1].alias == "default"


async def test_a_conversation_too_long_for_one_goes_to_the_next_at_once() -> None:
    node = Node(
        {"default": Model(ModelContextTooLong("too long", reason="context_too_long")), "other": Model()}, FALLBACK
    )
    assert (await node.ask())[1].alias == "other"
    assert (await node.ask())[1].alias == "default", "a shorter one may fit: it does not rest"


async def test_too_long_for_the_last_of_them_is_told_as_that() -> None:
    too_long = ModelContextTooLong("too long", reason="context_too_long")
    node = Node({"default": Model(busy(), busy()), "other": Model(too_long)}, FALLBACK)
    with pytest.raises(ModelContextTooLong):
        await node.ask()


async def test_every_answer_is_counted_by_iteration_and_alias_with_its_price() -> None:
    terms = {"default": ModelTerms(price=Price(input=3.0, output=15.0))}
    node = Node({"default": Model(busy()), "free": Model()}, terms)
    for iteration in (1, 1, 2):
        await node.ask(iteration)
    await (await node.begin("free", 2))
    cost = 1000 * 3e-6 + 10 * 15e-6
    assert await node.store.list_usage(node.execution.id) == [
        ModelUsage(1, "default", 2, 2000, 20, pytest.approx(2 * cost)),  # type: ignore[arg-type]
        ModelUsage(2, "default", 1, 1000, 10, pytest.approx(cost)),  # type: ignore[arg-type]
        ModelUsage(2, "free", 1, 1000, 10, None),
    ]
    assert node.count("aegis_model_tokens_total", alias="default", direction="input") == 3000
    assert node.count("aegis_model_cost_total", alias="default") == pytest.approx(3 * cost)
    assert node.count("aegis_model_cost_total", alias="free") == 0
    assert node.count("aegis_model_answers_total", alias="default") == 3


async def test_what_is_our_own_mistake_is_neither_repeated_nor_replaced() -> None:
    node = Node({"default": Model(), "other": Model()}, FALLBACK)

    async def broken(*arguments: object) -> ModelReply:
        raise ZeroDivisionError

    node.models["default"].complete = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await node.ask()
    assert node.models["other"].attempts == []
