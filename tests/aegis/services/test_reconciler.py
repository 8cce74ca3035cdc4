"""A daemon that dies at any of its calls, and what the next one finds and leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from aegis.domain.execution import FINAL_STATES, ExecutionState
from aegis.domain.iteration import IterationState
from aegis.domain.manifest import ExecutionPlan, Judge, ScriptValidator, SemanticValidator, StorageClass
from aegis.domain.volume import VolumeState
from aegis.errors import DockerUnavailable
from tests.support import samples
from tests.support.clock import settle
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.fakes_runtime import Fault
from tests.support.world import NODE, Daemon, Died, Life, World

PATH = "/workspace/out.txt"
PLAN = ExecutionPlan(max_iterations=2, validators=(ScriptValidator(command=("check", PATH, "hello")),))
TURNS = [answer("", call("cmd.run", command="write", args=[PATH, "hello"])), answer("done")]


JUDGED = ExecutionPlan(max_iterations=2, validators=(SemanticValidator(judge=Judge(agent="reviewer")),))
OPINION = [answer("", call("fs.read", path=PATH)), answer('{"score": 1, "confidence": 1, "reasoning": "well"}')]


def world_with_a_judge() -> World:
    model = FakeModel(TURNS)
    model.agents = {"reviewer": [OPINION]}
    return World.make(model)


async def run_until_death(world: World, life: Life, plan: ExecutionPlan = PLAN) -> bool:
    """Whether it died on the way."""
    if plan is JUDGED:
        await world.store.add_agent(world.agent(name="reviewer", plan=ExecutionPlan(max_iterations=1)))
    world.daemon = Daemon(world, life)
    try:
        execution = await world.start(world.agent(plan=plan))
    except Died:
        return True
    await world.until(lambda: not world.daemon.supervisor.is_running(execution.id))
    await settle()
    return life.dead


async def calls_of_a_whole_run(plan: ExecutionPlan) -> int:
    world, life = world_with_a_judge(), Life()
    assert not await run_until_death(world, life, plan)
    return life.calls


@pytest.mark.parametrize("after", [False, True], ids=["before the work", "before the reply"])
@pytest.mark.parametrize("plan", [PLAN, JUDGED], ids=["a script judges", "an agent judges"])
async def test_killed_at_any_call_the_next_daemon_leaves_nothing_and_a_true_final_state(
    after: bool, plan: ExecutionPlan
) -> None:
    for step in range(await calls_of_a_whole_run(plan)):
        world = world_with_a_judge()
        assert await run_until_death(world, Life(step, after=after), plan), f"call {step}"
        await world.restart().reconciler.reconcile(grace_seconds=0)
        assert await world.leftovers() == [], f"killed at call {step}"
        for execution in await world.store.list_executions():
            assert execution.state in FINAL_STATES, f"killed at call {step}"
            states = {each.state for each in await world.store.list_iterations(execution.id)}
            assert IterationState.RUNNING not in states, f"killed at call {step}"
        await world.runtime.close()


async def test_an_execution_of_a_dead_daemon_is_failed_with_a_reason_and_ends_its_followers() -> None:
    world = World.make(FakeModel([answer("", call("cmd.run", command="hang"))]))
    execution = await world.start()
    await world.until(lambda: "dispatch.sent" in kinds(world, execution.id))
    world.daemon.life.end()
    daemon = world.restart()
    [surplus] = await daemon.reconciler.reconcile(grace_seconds=0)
    assert (surplus.execution_id, surplus.unfinished) == (execution.id, True)
    ended = await world.store.get_execution(execution.id)
    assert (ended.state, ended.error_code) == (ExecutionState.FAILED, "daemon_restarted")
    followed = [event.kind async for event in daemon.events.follow(execution.id)]
    assert followed[-1] == "execution.failed"


async def test_a_running_execution_and_everything_of_it_is_left_alone() -> None:
    world = World.make(FakeModel([answer("", call("cmd.run", command="hang"))]))
    execution = await world.start()
    await world.until(lambda: "dispatch.sent" in kinds(world, execution.id))
    assert await world.daemon.reconciler.reconcile(grace_seconds=0) == []
    assert len(world.runtime.containers) == 1
    await world.daemon.supervisor.close()


async def test_a_dry_run_names_everything_and_removes_nothing() -> None:
    world = World.make(FakeModel([answer("", call("cmd.run", command="hang"))]))
    execution = await world.start()
    await world.until(lambda: "dispatch.sent" in kinds(world, execution.id))
    world.daemon.life.end()
    [surplus] = await world.restart().reconciler.reconcile(grace_seconds=0, dry_run=True)
    assert [each.what for each in surplus.objects] == ["container", "volume"]
    assert (surplus.holds_volumes, surplus.unfinished) == (True, True)
    assert len(world.runtime.containers) == 1
    assert (await world.store.get_execution(execution.id)).state is ExecutionState.RUNNING
    await world.runtime.close()


async def test_what_an_ended_execution_has_left_is_removed_after_the_grace_period_only() -> None:
    world = World.make(FakeModel(TURNS))
    world.runtime.faults["remove_container"] = [Fault(DockerUnavailable("away"))] * 3
    await world.run(world.agent(plan=PLAN))
    reconciler = world.daemon.reconciler
    assert await reconciler.reconcile(grace_seconds=120) == []
    await world.clock.advance(60)
    assert await reconciler.reconcile(grace_seconds=120) == []
    await world.clock.advance(60)
    assert len(await reconciler.reconcile(grace_seconds=120)) == 1
    assert await world.leftovers() == []


async def test_objects_of_other_nodes_and_of_nobody_are_never_touched() -> None:
    world = World.make(FakeModel(TURNS))
    mine = {"aegis.node_id": NODE, "aegis.execution_id": "gone"}
    for name, labels in {
        "other-node": {**mine, "aegis.node_id": "node-2"},
        "no-node": {"aegis.execution_id": "gone"},
        "shared": {"aegis.node_id": NODE},
        "mine": mine,
    }.items():
        await world.runtime.ensure_network(name, internal=True, labels=labels)
    await world.daemon.reconciler.reconcile(grace_seconds=0)
    assert sorted(world.runtime.networks) == ["no-node", "other-node", "shared"]


async def test_a_removal_that_fails_does_not_stop_the_others_and_is_tried_again() -> None:
    world = World.make(FakeModel([answer("", call("cmd.run", command="hang"))]))
    both = [await world.start() for _ in range(2)]
    await world.until(lambda: all("dispatch.sent" in kinds(world, each.id) for each in both))
    world.daemon.life.end()
    daemon = world.restart()
    world.runtime.faults["remove_container"] = [Fault(DockerUnavailable("away"))]
    assert len(await daemon.reconciler.reconcile(grace_seconds=0)) == 1
    states = sorted([(await world.store.get_execution(each.id)).state for each in both])
    assert states == [ExecutionState.FAILED, ExecutionState.RUNNING], "not ended while its container is there"
    assert len(await daemon.reconciler.reconcile(grace_seconds=0)) == 1
    assert await world.leftovers() == []


async def test_an_engine_that_is_away_is_asked_again_at_the_next_period() -> None:
    world = World.make(FakeModel([answer("", call("cmd.run", command="hang"))]))
    execution = await world.start()
    await world.until(lambda: "dispatch.sent" in kinds(world, execution.id))
    world.daemon.life.end()
    daemon = world.restart()
    listing, away = world.runtime.list_managed, True

    async def list_managed() -> object:
        if away:
            raise DockerUnavailable("away")
        return await listing()

    world.runtime.list_managed = list_managed  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(daemon.reconciler.run(period_seconds=60))
    await settle()
    assert (await world.store.get_execution(execution.id)).state is ExecutionState.RUNNING
    away = False
    await world.clock.advance(60)
    assert (await world.store.get_execution(execution.id)).state is ExecutionState.FAILED
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_volumes_half_made_or_half_deleted_by_a_dead_daemon_are_finished() -> None:
    world = World.make(FakeModel(TURNS))
    making = samples.volume(state=VolumeState.CREATING, created_at=world.clock.now())
    deleting = samples.volume(state=VolumeState.DELETING)
    expired = samples.volume(storage_class=StorageClass.EPHEMERAL, expires_at=world.clock.now())
    kept = samples.volume(expires_at=world.clock.now())
    for volume in (making, deleting, expired, kept):
        await world.store.add_volume(volume)
        world.gateway.storage[volume.id] = {}
    await world.daemon.reconciler.reconcile(grace_seconds=0)
    states = {volume.id: volume.state for volume in await world.store.list_volumes()}
    assert states == {
        making.id: VolumeState.FAILED,
        deleting.id: VolumeState.DELETED,
        expired.id: VolumeState.DELETED,
        kept.id: VolumeState.AVAILABLE,
    }
    assert set(world.gateway.storage) == {making.id, kept.id}


async def test_a_volume_in_the_making_has_its_time() -> None:
    world = World.make(FakeModel(TURNS))
    making = replace(samples.volume(state=VolumeState.CREATING), created_at=world.clock.now())
    await world.store.add_volume(making)
    await world.daemon.reconciler.reconcile(grace_seconds=120)
    assert (await world.store.get_volume(making.tenant_id, making.id)).state is VolumeState.CREATING


def kinds(world: World, execution_id: str) -> list[str]:
    return [event.kind for event in world.store._events[execution_id]]
