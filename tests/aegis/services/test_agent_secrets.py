"""Secrets that manifests ask for: who may, where they get, and where they never do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from aegis.domain.events import Event
from aegis.domain.execution import ExecutionState
from aegis.domain.manifest import ExecutionPlan, ScriptValidator, SemanticValidator
from aegis.domain.own_keys import own_key
from aegis.errors import Denied, SecretUnavailable
from aegis.services.agent_secrets import HIDDEN, AgentSecrets
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.world import World

VALUE = "hunter2-hunter2"


class Store:
    def __init__(self, **values: str) -> None:
        self.values = {name.replace("__", "/"): value for name, value in values.items()}
        self.failures: list[SecretUnavailable] = []
        self.asked: list[str] = []

    async def get(self, reference: str) -> str:
        self.asked.append(reference)
        if self.failures:
            raise self.failures.pop(0)
        return self.values[reference.partition("#")[0]]


def secrets(*paths: str, **values: str) -> AgentSecrets:
    return AgentSecrets(Store(**(values or {"team__app": VALUE})), paths or ("team/*",))


def asking(world: World, reference: str = "team/app#password", **changes: Any) -> Any:
    return world.agent(secret_environment={"PASSWORD": reference}, **changes)


async def test_a_secret_is_in_the_environment_of_the_agents_container_and_of_no_other() -> None:
    plan = ExecutionPlan(max_iterations=1, validators=(ScriptValidator(command=("exit", "0")),))
    world = World.make(FakeModel([answer("done")]), secrets=secrets())
    execution = await world.run(asking(world, plan=plan))
    assert execution.state is ExecutionState.COMPLETED
    agent, validator = world.runtime.ran
    assert agent.environment["PASSWORD"] == VALUE
    assert "PASSWORD" not in validator.environment
    stored = await world.store.get_execution(execution.id)
    assert stored.manifest.secret_environment == {"PASSWORD": "team/app#password"}


async def test_what_an_agent_prints_of_it_reaches_neither_the_model_nor_the_record() -> None:
    turns = [
        answer("", call("cmd.run", command="print", args=[f"password={VALUE}"])),
        answer("", call("cmd.run", command="write", args=["/workspace/out.txt", VALUE])),
        answer("", call("fs.read", path="out.txt")),
        answer(f"It is {VALUE}"),
    ]
    world = World.make(FakeModel(turns), secrets=secrets())
    execution = await world.run(asking(world))
    assert execution.output == "It is ***"
    told = [message.content for _, messages, _ in world.model.asked[1:] for message in messages]
    assert any("password=***" in text for text in told)
    assert VALUE not in str(told)
    record = [
        await world.store.list_events(execution.id),
        await world.store.list_iterations(execution.id),
        await world.store.load_inner_loop(execution.id, 1),
        execution,
    ]
    assert VALUE not in str(record)


async def test_a_judge_is_not_told_either_what_the_agent_has_written_down() -> None:
    judge = SemanticValidator(criteria="Is it there?", targets=("/workspace/out.txt",))
    opinion = answer('{"score": 1.0, "confidence": 1.0, "reasoning": "yes"}')
    turns = [answer("", call("cmd.run", command="write", args=["/workspace/out.txt", VALUE])), answer("done")]
    model = FakeModel(turns)
    world = World.make(model, secrets=secrets())
    complete = model.complete

    async def either(messages: Any, tools: Any, context: Any) -> Any:
        if context.agent_name == "coder":
            return await complete(messages, tools, context)
        model.asked.append((context, tuple(messages), ()))
        return opinion

    model.complete = either  # type: ignore[method-assign]
    execution = await world.run(asking(world, plan=ExecutionPlan(max_iterations=1, validators=(judge,))))
    assert execution.state is ExecutionState.COMPLETED, execution.error
    told = str(model.asked)
    assert "out.txt" in told and "***" in told
    assert VALUE not in told


async def test_a_path_that_agents_may_not_name_is_denied_before_anything_begins() -> None:
    world = World.make(FakeModel([answer("done")]), secrets=secrets("team/*"))
    with pytest.raises(Denied, match=r"PASSWORD is secret:node/key, .* may not have.*secrets.agent_paths"):
        await world.start(asking(world, "node/key"))
    assert await world.store.list_executions() == []


async def test_a_node_without_a_store_says_so() -> None:
    world = World.make(FakeModel([answer("done")]))
    with pytest.raises(SecretUnavailable, match="this node has no secret store"):
        await world.start(asking(world))


async def test_a_store_that_is_away_for_a_moment_costs_no_iteration_and_one_that_stays_away_ends_it() -> None:
    store = Store(team__app=VALUE)
    world = World.make(FakeModel([answer("done")]), secrets=AgentSecrets(store, ["team/*"]))
    store.failures = [SecretUnavailable("it is sealed")]
    execution = await world.run(asking(world))
    assert execution.state is ExecutionState.COMPLETED
    assert "iteration.retried" in await world.kinds(execution)
    store.failures = [SecretUnavailable("there is no field password", retryable=False)]
    execution = await world.run(asking(world))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "secret_unavailable")
    assert "no field password" in (execution.error or "")
    assert await world.leftovers() == []


async def test_each_iterations_container_has_the_value_of_its_time() -> None:
    store = Store(team__app=VALUE)
    plan = ExecutionPlan(max_iterations=2, validators=(ScriptValidator(command=("exit", "1")),))
    world = World.make(FakeModel([answer("done")]), secrets=AgentSecrets(store, ["team/*"]))
    await world.run(asking(world, plan=plan))
    assert store.asked == ["team/app#password"] * 2


async def test_a_value_too_short_to_be_told_from_other_text_is_refused() -> None:
    found = secrets(team__app="12345")
    world = World.make(FakeModel([answer("done")]), secrets=found)
    with pytest.raises(SecretUnavailable, match="shorter than 6 characters"):
        await found.environment(asking(world).manifest)


@dataclass(frozen=True)
class Pair:
    left: Any
    right: Any = None


async def test_it_is_blanked_out_of_texts_wherever_they_are_and_nothing_else_changes() -> None:
    found = secrets("*", a="aaaaaa", b="aaaaaabbb")
    assert found.concealed("aaaaaa") == "aaaaaa", "it is not known yet"
    world = World.make(FakeModel([]))
    await found.environment(world.agent(secret_environment={"A": "a", "B": "b"}).manifest)
    assert found.concealed(Pair(["x aaaaaabbb aaaaaa", 1, None], {"k": ("aaaaaa",)})) == Pair(
        ["x *** ***", 1, None], {"k": ("***",)}
    )
    same = Pair("nothing of it", 1.5)
    assert found.concealed(same) is same


def test_the_daemons_own_keys_are_blanked_out_whoever_prints_them() -> None:
    """Without a store, and beside its secrets; nobody has to remember which were given."""
    key = own_key(b"s" * 32, "egress", "an execution")
    printed = f"https_proxy=http://an-execution:{key}@10.97.0.1:3128\n"
    hidden = f"https_proxy=http://an-execution:{HIDDEN}@10.97.0.1:3128\n"
    nobody = AgentSecrets()
    assert nobody.concealed(printed) == hidden
    told = Event("dispatch.completed", datetime.now(UTC), data={"stdout": printed, "lines": [printed]})
    assert nobody.concealed(told).data == {"stdout": hidden, "lines": [hidden]}
    almost = key[:-1]  # cut off: it opens nothing
    assert nobody.concealed(almost) == almost


async def test_they_are_so_beside_the_secrets_of_manifests() -> None:
    world = World.make(FakeModel([]), secrets=(known := secrets()))
    await known.environment(asking(world).manifest)
    key = own_key(b"s" * 32, "egress", "an execution")
    assert known.concealed(f"{VALUE} {key}") == f"{HIDDEN} {HIDDEN}"
