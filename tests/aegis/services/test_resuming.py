"""A daemon killed at any moment, and the next one: everything ends as it would have, and every effect happened once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aegis.domain.execution import Execution, ExecutionState
from aegis.domain.iteration import IterationState
from aegis.domain.manifest import (
    ExecutionPlan,
    Judge,
    Resources,
    ScriptValidator,
    SemanticValidator,
    StorageClass,
    VolumeSpec,
)
from aegis.errors import Conflict
from aegis.ports import ModelReply
from aegis.replay import read_record, replay
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.sessions import ComesAgain
from tests.aegis.replay.test_replay import record_of
from tests.support import samples
from tests.support.clock import settle
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.fakes_runtime import FakeContainer
from tests.support.world import Daemon, Died, Life, World

LOG = "/workspace/log.txt"
SCRATCH = VolumeSpec(name="scratch", mount_path="/scratch")


def append(text: str) -> ModelReply:
    return answer("", call("cmd.run", command="append", args=[LOG, text]), call("fs.list", path="/workspace"))


FIRST = [append("1"), answer("first")]
SECOND = [append("2"), append("3"), answer("second")]
CHECKED = ExecutionPlan(max_iterations=3, validators=(ScriptValidator(command=("check", LOG, "123")),))
JUDGED = ExecutionPlan(
    max_iterations=3,
    validators=(ScriptValidator(command=("check", LOG, "123")), SemanticValidator(judge=Judge(agent="reviewer"))),
)
OPINION = [answer("", call("fs.read", path=LOG)), answer('{"score": 1, "confidence": 1, "reasoning": "well"}')]


async def kept(world: World) -> VolumeSpec:
    """A volume that is there before and after, and shows what was done."""
    for volume in await world.store.list_volumes():
        if volume.name == "kept":
            break
    else:
        volume = samples.volume(name="kept")
        await world.store.add_volume(volume)
        world.gateway.storage[volume.id] = {}
    persistent = StorageClass.PERSISTENT
    return VolumeSpec(name="kept", mount_path="/workspace", storage_class=persistent, source_volume_id=volume.id)


async def a_world(plan: ExecutionPlan) -> World:
    model = FakeModel(FIRST, SECOND)
    model.agents = {"reviewer": [OPINION]}
    world = World.make(model)
    if plan is JUDGED:
        await world.store.add_agent(world.agent(name="reviewer", plan=ExecutionPlan(max_iterations=1)))
    return world


async def until_death(world: World, life: Life, plan: ExecutionPlan) -> None:
    world.daemon = Daemon(world, life)
    agent = world.agent(plan=plan, volumes=(await kept(world), SCRATCH))
    try:
        execution = await world.start(agent)
    except Died:
        return
    await until_it_ends(world, life, execution)
    await settle()


async def until_it_ends(world: World, life: Life, execution: Execution) -> None:
    await world.until(lambda: life.dead or not world.daemon.supervisor.is_running(execution.id))


async def until_sent(world: World, execution: Execution) -> None:
    await world.until(lambda: "dispatch.sent" in kinds(world, execution))


async def the_end(world: World) -> Execution | None:
    """Of the only execution there is, beside its judges; None when it was never stored."""
    parents = [each for each in await world.store.list_executions() if each.parent_id is None]
    if not parents:
        return None
    [execution] = parents
    return await world.finish(execution)


async def hold_as_without_a_kill(world: World, execution: Execution, when: str) -> None:
    assert (execution.state, execution.output) == (ExecutionState.COMPLETED, "second"), f"{when}: {execution.error}"
    states = [each.state for each in await world.store.list_iterations(execution.id)]
    assert states == [IterationState.REFINING, IterationState.SUCCESS], when
    contents = [files["log.txt"] for files in world.gateway.storage.values() if "log.txt" in files]
    assert contents == [b"123"], when
    assert await world.leftovers() == [], when
    report = await replay(read_record(await record_of(world, execution), "the test"))
    assert report.difference is None, when


async def calls_of_a_whole_run(plan: ExecutionPlan) -> int:
    world, life = await a_world(plan), Life()
    await until_death(world, life, plan)
    execution = await the_end(world)
    assert execution is not None
    await hold_as_without_a_kill(world, execution, "not killed")
    return life.calls


@pytest.mark.parametrize("after", [False, True], ids=["before the work", "before the reply"])
@pytest.mark.parametrize("plan", [CHECKED, JUDGED], ids=["a script judges", "an agent judges"])
async def test_killed_at_any_call_it_ends_as_without(plan: ExecutionPlan, after: bool) -> None:
    for step in range(await calls_of_a_whole_run(plan)):
        world = await a_world(plan)
        await until_death(world, Life(step, after=after), plan)
        await world.resume()
        execution = await the_end(world)
        if execution is not None:
            await world.daemon.reconciler.reconcile(grace_seconds=0)
            await hold_as_without_a_kill(world, execution, f"killed at call {step}")
        await world.runtime.close()


async def test_killed_again_at_any_call_of_the_daemon_that_goes_on() -> None:
    step, died = 0, True
    while died:
        world = await a_world(CHECKED)
        execution = await world.start(world.agent(plan=CHECKED, volumes=(await kept(world), SCRATCH)))
        await until_sent(world, execution)
        world.daemon.life.end()
        life = Life(step)
        try:
            await world.resume(life)
            await until_it_ends(world, life, execution)
        except Died:
            pass
        died = life.dead
        if died:
            await world.resume()
        await hold_as_without_a_kill(world, await world.finish(execution), f"killed again at call {step}")
        await world.runtime.close()
        step += 1
    assert step > 50


# ---- what was under way ----


HANG = [answer("", call("cmd.run", command="hang"))]
ONCE = ExecutionPlan(max_iterations=1)
VALUE = "tok-0123456789"


async def started(world: World, kind: str = "dispatch.sent", **agent: Any) -> Execution:
    """An execution that has come so far; then its daemon is killed."""
    execution = await world.start(world.agent(**agent))
    await world.until(lambda: kind in kinds(world, execution))
    world.daemon.life.end()
    return execution


async def test_a_model_that_was_being_asked_is_asked_again() -> None:
    world = World.make(FakeModel([append("1"), answer("done")]))
    world.model.hang = True
    execution = await world.start(world.agent())
    await world.until(lambda: len(world.model.asked) == 1)
    world.daemon.life.end()
    world.model.hang = False
    await world.resume()
    ended = await world.finish(execution)
    assert (ended.state, ended.output) == (ExecutionState.COMPLETED, "done")
    assert [messages for _, messages, _ in world.model.asked][:2] == [world.model.asked[0][1]] * 2


async def test_a_live_container_is_waited_for_and_no_other_one_made() -> None:
    world = World.make(FakeModel(HANG))
    execution = await started(world)
    await world.resume()
    await world.until(lambda: "iteration.resumed" in kinds(world, execution))
    assert len(world.runtime.created) == 1
    assert kinds(world, execution).count("dispatch.sent") == 1
    await world.daemon.supervisor.cancel(execution.id)
    assert (await world.finish(execution)).state is ExecutionState.CANCELLED
    assert await world.leftovers() == []


async def test_the_time_of_an_iteration_counts_from_its_containers_start_also_while_no_daemon_is_there() -> None:
    world = World.make(FakeModel(HANG))
    execution = await started(world, plan=ONCE, resources=Resources(timeout_seconds=300))
    began = world.clock.monotonic()
    await world.clock.advance(200)
    await world.resume()
    ended = await world.finish(execution)
    assert (ended.state, ended.error_code) == (ExecutionState.FAILED, "iteration_timeout")
    assert 290 < world.clock.monotonic() - began < 320


async def test_the_time_of_an_execution_counts_from_its_first_iteration() -> None:
    world = World.make(FakeModel(HANG))
    resources = Resources(timeout_seconds=3000, execution_timeout_seconds=400)
    execution = await started(world, plan=ONCE, resources=resources)
    began = world.clock.monotonic()
    await world.clock.advance(300)
    await world.resume()
    assert (await world.finish(execution)).error_code == "execution_timeout"
    assert 390 < world.clock.monotonic() - began < 420


async def test_a_container_that_ended_meanwhile_is_taken_by_its_exit_code_and_its_words() -> None:
    world = World.make(FakeModel(HANG))

    async def crashes(container: FakeContainer) -> int:
        await world.daemon.inner_loop.task(execution, 1)
        await world.daemon.life.death.wait()
        container.output.append(b"out of luck")
        return 7

    world.runtime.programs["agent"] = crashes
    execution = await world.start(world.agent(plan=ONCE))
    await world.until(lambda: "container.started" in kinds(world, execution))
    world.daemon.life.end()
    await settle()
    await world.resume()
    ended = await world.finish(execution)
    assert ended.state is ExecutionState.FAILED
    assert "exit code 7 before a final response; its last lines: out of luck" in str(ended.error)


async def test_a_container_that_is_gone_without_a_result_is_told_and_the_iteration_begun_anew() -> None:
    world = World.make(FakeModel([answer("", call("cmd.run", command="hang"))], [answer("done")]))
    execution = await started(world, plan=ONCE)
    [container] = world.runtime.containers.values()
    await world.runtime.remove_container(container.id)
    world.model.iterations = ([answer("done")],)
    await world.resume()
    ended = await world.finish(execution)
    assert (ended.state, ended.output) == (ExecutionState.COMPLETED, "done")
    [resumed] = [event for event in await world.store.list_events(execution.id) if event.kind == "iteration.resumed"]
    assert resumed.data["reason"] == f"its container {container.id[:12]} is gone without a result"
    assert [each.number for each in await world.store.list_iterations(execution.id)] == [1]


async def test_a_conversation_that_is_lost_fails_it_with_what_to_do() -> None:
    world = World.make(FakeModel(HANG))
    execution = await started(world)
    world.store._inner.clear()
    await world.resume()
    ended = await world.finish(execution)
    assert ended.state is ExecutionState.FAILED
    assert "its conversation is not in the database. Was the database replaced or restored?" in str(ended.error)
    assert await world.leftovers() == []


async def test_an_execution_that_was_begun_with_another_secret_is_failed_and_cleared_up() -> None:
    world = World.make(FakeModel(HANG))
    execution = await started(world)
    world.store._executions[execution.id] = replace(await world.store.get_execution(execution.id), token_hash="0" * 64)
    await world.resume()
    ended = await world.finish(execution)
    assert "was begun with another secret than this node has now" in str(ended.error)
    assert [each.state for each in await world.store.list_iterations(execution.id)] == [IterationState.FAILED]
    assert await world.leftovers() == []


class Kept:
    """A secret store of one value."""

    async def get(self, reference: str) -> str:
        return VALUE


async def test_the_secrets_of_a_live_container_are_blanked_out_again() -> None:
    world = World.make(FakeModel([answer("", call("cmd.run", command="env")), answer("done")]), secrets=secrets())
    first = world.daemon

    async def tells(container: FakeContainer) -> int:
        execution_id = container.spec.environment["AEGIS_EXECUTION_ID"]
        dispatch = await first.inner_loop.generate(execution_id, {"iteration_number": 1})
        await first.life.death.wait()
        told = {"dispatch_id": dispatch["dispatch_id"], "exit_code": 0, "stdout": container.spec.environment["TOKEN"]}
        await world._ask(lambda loop: loop.dispatch_result(execution_id, told))
        return 0

    world.runtime.programs["agent"] = tells
    execution = await started(world, plan=ONCE, secret_environment={"TOKEN": "ci/deploy#token"})
    world.secrets = secrets()  # the next daemon knows of none yet
    await world.resume()
    assert (await world.finish(execution)).state is ExecutionState.COMPLETED
    assert VALUE not in repr(vars(world.store))
    _, messages, _ = world.model.asked[-1]
    assert "stdout:\n***" in messages[-1].content


def secrets() -> AgentSecrets:
    return AgentSecrets(Kept(), ("ci/*",))


# ---- those that waited, were cancelled, or are not ours ----


async def test_those_that_waited_wait_again_in_their_order_behind_the_one_that_ran() -> None:
    world = World.make(FakeModel(HANG), concurrent=1)
    executions = []
    for _ in range(4):
        executions.append(await world.start())
        await world.clock.advance(1)
    await until_sent(world, executions[0])
    world.daemon.life.end()
    world.model.iterations = ([answer("done")],)
    await world.resume(concurrent=1)
    await world.until(lambda: "iteration.resumed" in kinds(world, executions[0]))
    assert [("execution.started" in kinds(world, each)) for each in executions] == [True, False, False, False]
    await world.daemon.supervisor.cancel(executions[0].id)
    for execution in executions:
        await world.finish(execution)
    started = [(await world.store.get_execution(each.id)).started_at for each in executions]
    assert started == sorted(started, key=str) and None not in started


async def test_more_than_may_run_now_go_on_all_the_same_when_they_ran_before() -> None:
    world = World.make(FakeModel(HANG))
    both = [await world.start() for _ in range(2)]
    await world.until(lambda: all("dispatch.sent" in kinds(world, each) for each in both))
    world.daemon.life.end()
    await world.resume(concurrent=1)
    await world.until(lambda: all("iteration.resumed" in kinds(world, each) for each in both))
    await world.daemon.supervisor.close()


@pytest.mark.parametrize("after", [False, True], ids=["before the work", "before the reply"])
async def test_one_that_is_cancelled_stays_cancelled_wherever_the_daemon_is_killed(after: bool) -> None:
    step, died = 1, True  # call 0 is the cancellation written down
    while died:
        world = World.make(FakeModel(HANG))
        execution = await world.start()
        await until_sent(world, execution)
        life = world.daemon.life
        life.die_in(step, after=after)
        try:
            await world.daemon.supervisor.cancel(execution.id)
            await until_it_ends(world, life, execution)
        except Died:
            pass
        died = life.dead
        if died:
            await world.resume()
        ended = await world.finish(execution)
        assert ended.state is ExecutionState.CANCELLED, f"killed at call {step}"
        assert await world.leftovers() == [], f"killed at call {step}"
        await world.runtime.close()
        step += 1
    assert step > 5


async def test_cancelled_before_it_goes_on_it_is_cleared_up_and_cancelled() -> None:
    world = World.make(FakeModel(HANG))
    execution = await started(world)
    world.restart()
    await world.daemon.supervisor.recall()
    assert (await world.daemon.supervisor.cancel(execution.id)).state is ExecutionState.RUNNING
    world.daemon.supervisor.proceed()
    assert (await world.finish(execution)).state is ExecutionState.CANCELLED
    assert await world.leftovers() == []


async def test_a_daemon_that_is_stopped_before_the_engine_is_there_leaves_it_to_the_next() -> None:
    world = World.make(FakeModel([append("1"), answer("done")]))
    execution = await started(world)
    stopped = world.restart()
    await stopped.supervisor.recall()
    await stopped.supervisor.close()
    await world.resume()
    assert (await world.finish(execution)).state is ExecutionState.COMPLETED


async def test_executions_of_another_node_are_neither_resumed_nor_failed() -> None:
    world = World.make(FakeModel(HANG))
    execution = await started(world)
    volumes = await world.store.list_volumes()
    world.store._executions[execution.id] = replace(await world.store.get_execution(execution.id), node_id="node-2")
    await world.runtime.close()
    world.runtime.containers.clear()
    world.runtime.volumes.clear()
    daemon = await world.resume()
    assert not daemon.supervisor.is_running(execution.id)
    assert (await world.store.get_execution(execution.id)).state is ExecutionState.RUNNING
    assert await world.store.list_volumes() == volumes


async def test_a_container_that_asks_before_it_goes_on_is_asked_to_come_again_and_later_that_it_is_over() -> None:
    world = World.make(FakeModel(HANG))
    execution = await started(world)
    world.restart()
    with pytest.raises(Conflict):
        await world.daemon.inner_loop.task(execution, 1)
    await world.daemon.supervisor.recall()
    with pytest.raises(ComesAgain) as raised:
        await world.daemon.inner_loop.task(execution, 1)
    assert (raised.value.status, raised.value.retryable) == (503, True)
    world.store._inner.clear()
    world.daemon.supervisor.proceed()
    await world.finish(execution)
    with pytest.raises(Conflict):
        await world.daemon.inner_loop.task(execution, 1)


def kinds(world: World, execution: Execution) -> list[str]:
    return [event.kind for event in world.store._events[execution.id]]
