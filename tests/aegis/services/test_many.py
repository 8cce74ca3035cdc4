"""Two hundred executions at once on an engine that is slow, fails, and loses the replies to what it has done."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from aegis.domain.execution import FINAL_STATES, Agent, ExecutionState
from aegis.domain.manifest import ExecutionPlan, ScriptValidator
from aegis.errors import WorldError
from aegis.ids import new_id
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.fakes_runtime import FakeContainer, Fault
from tests.support.world import World

EXECUTIONS, TENANTS, CONCURRENT, PER_TENANT = 200, 5, 40, 12
METHODS = ("ensure_image", "create_volume", "create", "start", "wait", "kill", "remove_container", "remove_volume")
CALLS = 400  # of each method: two iterations and two judgements each, less what fails


def trouble(dice: random.Random) -> dict[str, list[Fault]]:
    """One call in five of every kind goes wrong: not done, or done and not answered."""
    return {
        method: [
            Fault(WorldError("the engine is busy"), after=dice.random() < 0.5) if dice.random() < 0.2 else Fault()
            for _ in range(CALLS)
        ]
        for method in METHODS
    }


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_hundred_executions_end_truly_and_leave_nothing(seed: int) -> None:
    dice = random.Random(seed)
    path = "/workspace/out.txt"
    wrong = [answer("", call("fs.write", path=path, content="wrong")), answer("done")]
    right = [answer("", call("fs.write", path=path, content="right")), answer("done")]
    world = World.make(
        FakeModel(wrong, right), concurrent=CONCURRENT, waiting=EXECUTIONS, concurrent_per_tenant=PER_TENANT
    )
    world.runtime.faults.update(trouble(dice))
    plan = ExecutionPlan(max_iterations=3, validators=(ScriptValidator(command=("check", path, "right")),))
    agent: Agent = world.agent(plan=plan)
    most: Counter[str] = Counter()
    bootstrap = world.runtime.programs["agent"]

    async def counting(container: FakeContainer) -> int:
        running = [
            each.spec for each in world.runtime.containers.values() if each.running and each.spec.kind == "agent"
        ]
        tenants = Counter(spec.labels["aegis.tenant_id"] for spec in running)
        most["all"] = max(most["all"], len(running))
        most["tenant"] = max(most["tenant"], *tenants.values())
        await world.clock.sleep(dice.uniform(0, 20))  # a container is up when it is up
        return await bootstrap(container)

    world.runtime.programs["agent"] = counting
    supervisor = world.daemon.supervisor
    started = [await supervisor.start(agent, new_id(), f"tenant-{n % TENANTS}") for n in range(EXECUTIONS)]
    cancelled = dice.sample(started, EXECUTIONS // 10)
    for execution in cancelled:
        await supervisor.cancel(execution.id)
    await world.until(lambda: not any(supervisor.is_running(each.id) for each in started))

    ended = [await world.store.get_execution(each.id) for each in started]
    assert all(each.state in FINAL_STATES and each.ended_at is not None for each in ended)
    assert {each.id for each in ended if each.state is ExecutionState.CANCELLED} == {each.id for each in cancelled}
    failed = [each for each in ended if each.state is ExecutionState.FAILED]
    strange = [str(each.error) for each in failed if "engine is busy" not in str(each.error)]
    assert strange == [], "only the engine made anything fail"
    assert len(failed) < EXECUTIONS // 4, "most failures pass with patience"
    assert 0 < most["tenant"] <= PER_TENANT and most["all"] <= CONCURRENT

    world.runtime.faults.clear()
    await world.daemon.reconciler.reconcile(grace_seconds=0)
    assert await world.leftovers() == []
