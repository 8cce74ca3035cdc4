"""Executions from start to end, on an engine, a gateway and a model that behave like the real ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aegis.domain.execution import ExecutionState
from aegis.domain.iteration import IterationState
from aegis.domain.manifest import (
    AccessMode,
    ExecutionMode,
    ExecutionPlan,
    ExitCodeValidator,
    PullPolicy,
    RegexValidator,
    Resources,
    Runtime,
    ScriptValidator,
    StorageClass,
    VolumeSpec,
)
from aegis.errors import (
    Conflict,
    ContainerFailed,
    DockerUnavailable,
    ImagePullFailed,
    ModelFailed,
    MountFailed,
    NotFound,
    Overloaded,
    WorldError,
)
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.fakes_runtime import FakeContainer, Fault
from tests.support.world import World

PATH = "/workspace/out.txt"
CHECK = ScriptValidator(command=("check", PATH, "hello"))
WRONG = [answer("first", call("fs.write", path=PATH, content="hullo")), answer("done, I think")]
RIGHT = [answer("now", call("cmd.run", command="write", args=[PATH, "hello"])), answer("done")]
HANG = [answer("", call("cmd.run", command="hang"))]
PLAN = ExecutionPlan(max_iterations=3, validators=(CHECK,))


async def test_wrong_then_right_completes_in_two_iterations_in_two_containers() -> None:
    world = World.make(FakeModel(WRONG, RIGHT))
    execution = await world.run(world.agent(plan=PLAN))
    assert (execution.state, execution.output, execution.error) == (ExecutionState.COMPLETED, "done", None)
    first, second = await world.store.list_iterations(execution.id)
    assert (first.state, second.state) == (IterationState.REFINING, IterationState.SUCCESS)
    agents = [spec.name for spec in world.runtime.ran if spec.kind == "agent"]
    assert len(set(agents)) == 2
    assert await world.leftovers() == []


async def test_the_second_iteration_is_told_what_failed_in_the_first() -> None:
    world = World.make(FakeModel(WRONG, RIGHT))
    await world.run(world.agent(plan=PLAN))
    prompts = {context.iteration: messages[1].content for context, messages, _ in world.model.asked}
    assert "found 'hullo', wanted 'hello'" in prompts[2]
    assert "hullo" not in prompts[1]


async def test_the_files_of_one_iteration_are_there_for_the_next_and_for_the_validator() -> None:
    world = World.make(FakeModel(RIGHT))
    persistent = VolumeSpec(name="w", mount_path="/workspace", storage_class=StorageClass.PERSISTENT)
    execution = await world.run(world.agent(plan=PLAN, volumes=(persistent,)))
    assert execution.state is ExecutionState.COMPLETED
    assert world.files() == {"out.txt": b"hello"}


async def test_what_happened_is_told_in_its_order() -> None:
    world = World.make(FakeModel(RIGHT))
    execution = await world.run(world.agent(plan=PLAN))
    assert await world.kinds(execution) == [
        "execution.created",
        "execution.started",
        "image.pulling",
        "image.pulled",
        "volume.created",
        "volume.attached",
        "iteration.started",
        "container.created",
        "container.started",
        "model.called",
        "tool.called",
        "tool.allowed",
        "dispatch.sent",
        "dispatch.completed",
        "model.called",
        "container.exited",
        "container.removed",
        "container.created",
        "container.started",
        "container.removed",
        "validator.judged",
        "iteration.succeeded",
        "volume.detached",
        "volume.deleted",
        "execution.completed",
    ]


async def test_a_container_gets_the_token_and_no_prompt_and_a_validators_gets_neither() -> None:
    world = World.make(FakeModel(RIGHT))
    execution = await world.run(world.agent(plan=PLAN, environment={"COLOUR": "blue"}))
    agent, validator = world.runtime.ran
    assert agent.environment["AEGIS_EXECUTION_ID"] == execution.id
    assert agent.environment["COLOUR"] == validator.environment["COLOUR"] == "blue"
    token = agent.environment["AEGIS_DISPATCH_TOKEN"]
    assert len(token) > 30
    assert "Write hello" not in repr(agent)
    assert token not in repr(validator)
    assert not [name for name in validator.environment if name.startswith("AEGIS_")]
    assert token not in repr(vars(world.store))
    assert agent.labels["aegis.execution_id"] == execution.id


async def test_every_container_mounts_docker_volumes_of_its_own() -> None:
    world = World.make(FakeModel(WRONG, RIGHT))
    await world.run(world.agent(plan=PLAN))
    names = [mount.volume_name for spec in world.runtime.ran for mount in spec.mounts]
    assert len(names) == len(set(names)) == 4


async def test_no_iteration_good_enough_fails_with_what_the_last_one_lacked() -> None:
    world = World.make(FakeModel(WRONG))
    execution = await world.run(world.agent(plan=PLAN))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "validation_failed")
    assert execution.error is not None
    assert "None of 3 iterations passed" in execution.error
    assert "wanted 'hello'" in execution.error
    assert await world.leftovers() == []


async def test_one_shot_makes_one_iteration_whatever_comes_of_it() -> None:
    world = World.make(FakeModel(WRONG, RIGHT))
    plan = ExecutionPlan(mode=ExecutionMode.ONE_SHOT, max_iterations=5, validators=(CHECK,))
    execution = await world.run(world.agent(plan=plan))
    assert execution.state is ExecutionState.FAILED
    assert len(await world.store.list_iterations(execution.id)) == 1


# ---- time ----


async def test_no_final_response_in_time_kills_the_container_and_the_next_iteration_is_told() -> None:
    world = World.make(FakeModel(HANG, RIGHT))
    execution = await world.run(world.agent(plan=PLAN, resources=Resources(timeout_seconds=30)))
    assert execution.state is ExecutionState.COMPLETED
    first, _ = await world.store.list_iterations(execution.id)
    assert (first.state, first.error_code) == (IterationState.FAILED, "iteration_timeout")
    assert first.error == "no final response within 30 s: the container was killed"
    assert "container.killed" in await world.kinds(execution)
    assert len(world.runtime.killed) == 1
    prompts = {context.iteration: messages[1].content for context, messages, _ in world.model.asked}
    assert "no final response within 30 s" in prompts[2]
    assert await world.leftovers() == []


async def test_a_last_iteration_out_of_time_fails_the_execution_with_its_code() -> None:
    world = World.make(FakeModel(HANG))
    plan = ExecutionPlan(mode=ExecutionMode.ONE_SHOT)
    execution = await world.run(world.agent(plan=plan, resources=Resources(timeout_seconds=30)))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "iteration_timeout")
    assert await world.leftovers() == []


async def test_a_model_that_does_not_answer_in_time_is_a_timeout_too() -> None:
    world = World.make(FakeModel(RIGHT))
    world.model.hang = True
    plan = ExecutionPlan(mode=ExecutionMode.ONE_SHOT)
    execution = await world.run(world.agent(plan=plan, resources=Resources(timeout_seconds=30)))
    assert execution.error_code == "iteration_timeout"
    assert await world.leftovers() == []


async def test_all_iterations_together_have_a_time_of_their_own() -> None:
    world = World.make(FakeModel(HANG))
    resources = Resources(timeout_seconds=30, execution_timeout_seconds=70)
    execution = await world.run(world.agent(resources=resources, plan=ExecutionPlan(max_iterations=10)))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "execution_timeout")
    states = [iteration.state for iteration in await world.store.list_iterations(execution.id)]
    assert states == [IterationState.FAILED] * 3
    assert await world.leftovers() == []


async def test_a_container_that_stays_after_its_final_response_is_killed_and_has_no_exit_code() -> None:
    world = World.make(FakeModel([answer("done")]))
    bootstrap = world.runtime.programs["agent"]

    async def lingering(container: FakeContainer) -> int:
        await bootstrap(container)
        await asyncio.Event().wait()
        return 0

    world.runtime.programs["agent"] = lingering
    plan = ExecutionPlan(mode=ExecutionMode.ONE_SHOT, validators=(ExitCodeValidator(),))
    execution = await world.run(world.agent(plan=plan))
    [iteration] = await world.store.list_iterations(execution.id)
    assert iteration.exit_code is None
    assert execution.error is not None
    assert "did not end after the final response" in execution.error
    assert await world.leftovers() == []


# ---- failures of the world ----


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("ensure_image", ImagePullFailed("registry away")),
        ("create_volume", DockerUnavailable("socket closed")),
        ("create", ContainerFailed("no space")),
        ("start", MountFailed("connection refused")),
        ("wait", DockerUnavailable("engine restarts")),
    ],
)
@pytest.mark.parametrize("reply_lost", [False, True])
async def test_a_failure_that_passes_is_tried_again_and_not_counted(
    method: str, error: Exception, reply_lost: bool
) -> None:
    world = World.make(FakeModel(RIGHT))
    world.runtime.faults[method] = [Fault(error, after=reply_lost), Fault(error, after=reply_lost)]  # type: ignore[arg-type]
    execution = await world.run(world.agent(plan=PLAN))
    assert execution.state is ExecutionState.COMPLETED
    assert len(await world.store.list_iterations(execution.id)) == 1
    assert await world.leftovers() == []


async def test_a_failure_that_stays_ends_the_execution_with_its_code_and_leaves_nothing() -> None:
    world = World.make(FakeModel(RIGHT))
    world.runtime.faults["create"] = [Fault(ContainerFailed("no space"))] * 10
    execution = await world.run()
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "container_failed")
    assert len(world.runtime.faults["create"]) == 6, "four attempts"
    [iteration] = await world.store.list_iterations(execution.id)
    assert iteration.state is IterationState.FAILED
    assert await world.leftovers() == []


async def test_a_missing_image_with_policy_never_fails_at_once_and_contacts_nobody() -> None:
    world = World.make(FakeModel(RIGHT))
    runtime = Runtime(image="absent:1", image_pull_policy=PullPolicy.NEVER)
    execution = await world.run(world.agent(runtime=runtime))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "image_not_found")
    assert world.runtime.pulls == []
    assert "image.failed" not in await world.kinds(execution)
    assert await world.leftovers() == []


async def test_a_pull_reports_its_progress() -> None:
    world = World.make(FakeModel(RIGHT))
    world.runtime.registry.add("other:1")
    world.runtime.faults["ensure_image"] = [Fault(ImagePullFailed("cut off"), after=True)] * 3
    execution = await world.run(world.agent(runtime=Runtime(image="other:1"), plan=PLAN))
    assert execution.state is ExecutionState.COMPLETED
    assert "image.progress" in await world.kinds(execution)


async def test_an_agent_never_starts_on_a_workspace_that_cannot_be_mounted() -> None:
    world = World.make(FakeModel(RIGHT))
    world.runtime.faults["start"] = [Fault(MountFailed("no such device", retryable=False))]
    execution = await world.run()
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "mount_failed")
    assert world.runtime.started == []
    assert world.model.asked == []
    assert await world.leftovers() == []


async def test_a_container_that_never_reaches_us_is_our_failure_and_says_what_it_printed() -> None:
    world = World.make(FakeModel(RIGHT))

    async def lost(container: FakeContainer) -> int:
        container.output.append(b"no route to host")
        return 1

    world.runtime.programs["agent"] = lost
    execution = await world.run()
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "container_failed")
    assert execution.error is not None
    assert "has never reached http://172.30.0.1:8080; its last lines: no route to host" in execution.error
    assert len(await world.store.list_iterations(execution.id)) == 1


async def test_a_container_that_tries_in_vain_to_reach_us_until_its_time_is_over_is_our_failure_too() -> None:
    world = World.make(FakeModel(RIGHT))

    async def knocking(container: FakeContainer) -> int:
        container.output.append(b"trying again: connection refused")
        await asyncio.Event().wait()
        return 1

    world.runtime.programs["agent"] = knocking
    execution = await world.run(world.agent(plan=PLAN, resources=Resources(timeout_seconds=30)))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "container_failed")
    assert execution.error is not None
    assert "was killed after 30 s and has never reached http://172.30.0.1:8080" in execution.error
    assert "connection refused" in execution.error
    assert len(world.runtime.killed) == 1
    assert len(await world.store.list_iterations(execution.id)) == 1  # of three: no second one would do better
    assert await world.leftovers() == []


async def test_a_container_that_ends_without_a_final_response_is_a_failed_iteration() -> None:
    world = World.make(FakeModel(HANG, RIGHT))
    bootstrap = world.runtime.programs["agent"]

    async def crashing(container: FakeContainer) -> int:
        if container.spec.environment["AEGIS_ITERATION"] == "1":
            execution = await world.store.get_execution(container.spec.environment["AEGIS_EXECUTION_ID"])
            await world.daemon.inner_loop.task(execution, 1)
            container.out_of_memory = True
            return 137
        return await bootstrap(container)

    world.runtime.programs["agent"] = crashing
    execution = await world.run(world.agent(plan=PLAN))
    first, _ = await world.store.list_iterations(execution.id)
    assert (first.state, first.exit_code) == (IterationState.FAILED, 137)
    assert first.error is not None
    assert "ran out of memory" in first.error
    assert execution.state is ExecutionState.COMPLETED


async def test_a_container_removed_by_somebody_is_made_anew() -> None:
    world = World.make(FakeModel(RIGHT))
    world.runtime.faults["wait"] = [Fault(NotFound("No such container"))]
    execution = await world.run(world.agent(plan=PLAN))
    assert execution.state is ExecutionState.COMPLETED
    assert len([spec for spec in world.runtime.ran if spec.kind == "agent"]) == 2


async def test_a_provider_that_fails_for_good_ends_the_execution_and_is_no_iterations_fault() -> None:
    world = World.make(FakeModel([ModelFailed("the key is refused", retryable=False)]))
    execution = await world.run()
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "model_failed")
    assert execution.error == "the key is refused"
    assert await world.leftovers() == []


async def test_a_provider_that_fails_for_a_while_is_asked_again() -> None:
    world = World.make(FakeModel(RIGHT))
    world.model.failures = [ModelFailed("rate limit"), ModelFailed("rate limit")]
    execution = await world.run(world.agent(plan=PLAN))
    assert execution.state is ExecutionState.COMPLETED
    assert (await world.kinds(execution)).count("model.failed") == 2


async def test_what_cannot_be_removed_does_not_change_the_outcome_and_is_found_by_the_reconciler() -> None:
    world = World.make(FakeModel(RIGHT))
    world.runtime.faults["remove_container"] = [Fault(DockerUnavailable("socket closed"))] * 3
    execution = await world.run(world.agent(plan=PLAN))
    assert execution.state is ExecutionState.COMPLETED
    assert [each.split()[0] for each in await world.leftovers()] == ["container", "volume"]
    await world.daemon.reconciler.reconcile(grace_seconds=0)
    assert await world.leftovers() == []


async def test_a_mistake_of_ours_fails_that_execution_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    world = World.make(FakeModel(RIGHT))

    async def broken(*_: Any) -> str:
        raise ZeroDivisionError("planted")

    world.runtime.programs["validator"] = broken  # type: ignore[assignment]
    world.daemon.volumes.attach = broken  # type: ignore[method-assign, assignment]
    execution = await world.run()
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "internal")
    assert "planted" in caplog.text


# ---- volumes ----


async def test_a_second_writer_of_a_volume_is_refused_while_a_reader_is_not() -> None:
    world = World.make(FakeModel(HANG))
    volume = await world.daemon.volumes.create("default", "shared", storage_class=StorageClass.PERSISTENT)
    source = VolumeSpec(name="shared", mount_path="/workspace", source_volume_id=volume.id)
    writer = await world.start(world.agent(volumes=(source,)))
    await world.until(lambda: len(world.runtime.started) == 1)
    refused = await world.run(world.agent(volumes=(source,)))
    assert (refused.state, refused.error_code) == (ExecutionState.FAILED, "volume_already_mounted")
    reading = source.model_copy(update={"access_mode": AccessMode.READ_ONLY})
    await world.start(world.agent(volumes=(reading,)))
    await world.until(lambda: len(world.runtime.started) == 2)
    assert (await world.store.get_execution(writer.id)).state is ExecutionState.RUNNING
    await world.daemon.supervisor.close()
    assert await world.leftovers() == []


async def test_a_read_only_volume_refuses_the_containers_writes_and_the_tools() -> None:
    turns = [
        answer("", call("fs.write", path=PATH, content="x"), call("cmd.run", command="write", args=[PATH, "x"])),
        answer("done"),
    ]
    world = World.make(FakeModel(turns))
    volume = await world.daemon.volumes.create("default", "shared", storage_class=StorageClass.PERSISTENT)
    reading = VolumeSpec(
        name="shared", mount_path="/workspace", source_volume_id=volume.id, access_mode=AccessMode.READ_ONLY
    )
    execution = await world.run(world.agent(volumes=(reading,)))
    assert execution.state is ExecutionState.COMPLETED
    assert world.files() == {}
    results = [message.content for message in world.model.asked[-1][1] if message.role == "tool"]
    assert "read-only" in results[0]
    assert results[1].startswith("exit code: 1")


async def test_an_unknown_source_volume_fails_the_execution_before_any_container() -> None:
    world = World.make(FakeModel(RIGHT))
    spec = VolumeSpec(name="w", mount_path="/workspace", source_volume_id="no-such")
    execution = await world.run(world.agent(volumes=(spec,)))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "not_found")
    assert world.runtime.created == []


# ---- taking and cancelling ----


async def test_an_unknown_model_is_refused_before_anything_is_stored() -> None:
    world = World.make(FakeModel(RIGHT))
    with pytest.raises(NotFound, match="no model clever"):
        await world.start(world.agent(runtime=Runtime(image="python:3.11-slim", model_alias="clever")))
    assert await world.store.list_executions() == []


async def test_an_unknown_security_context_is_refused_before_anything_is_stored() -> None:
    world = World.make(FakeModel([answer("done")]))
    with pytest.raises(NotFound, match="no security context careful, only default"):
        await world.start(world.agent(security_context="careful"))
    assert await world.store.list_executions() == []


# ---- the next container, made ahead ----


async def test_the_next_iterations_container_is_made_while_the_answer_is_judged() -> None:
    world = World.make(FakeModel(WRONG, RIGHT))
    made: list[list[str]] = []

    async def judging(container: FakeContainer) -> int:
        made.append([each.spec.environment.get("AEGIS_ITERATION", "-") for each in world.runtime.containers.values()])
        return await validator(container)

    validator, world.runtime.programs["validator"] = world.runtime.programs["validator"], judging
    execution = await world.run(world.agent(plan=PLAN))
    assert execution.state is ExecutionState.COMPLETED
    assert [sorted(each) for each in made] == [["-", "2"], ["-", "3"]]
    assert [spec.environment["AEGIS_ITERATION"] for spec in world.runtime.ran if spec.kind == "agent"] == ["1", "2"]
    assert await world.leftovers() == []


@pytest.mark.parametrize("plan", [ExecutionPlan(max_iterations=3), PLAN.model_copy(update={"max_iterations": 1})])
async def test_none_is_made_where_no_iteration_can_follow(plan: ExecutionPlan) -> None:
    world = World.make(FakeModel(RIGHT))
    await world.run(world.agent(plan=plan))
    assert [spec.name for spec in world.runtime.created] == world.runtime.started


async def test_one_that_cannot_be_made_ahead_is_made_in_its_turn() -> None:
    world = World.make(FakeModel(WRONG, RIGHT))
    world.runtime.faults["create"] = [Fault(), Fault(WorldError("the engine is busy"))]
    execution = await world.run(world.agent(plan=PLAN))
    assert execution.state is ExecutionState.COMPLETED
    assert "iteration.retried" not in await world.kinds(execution)
    assert await world.leftovers() == []


async def test_more_executions_than_may_wait_are_refused_and_the_others_take_turns() -> None:
    world = World.make(FakeModel(RIGHT), concurrent=1, waiting=2)
    bootstrap, most = world.runtime.programs["agent"], 0

    async def counting(container: FakeContainer) -> int:
        nonlocal most
        most = max(most, sum(each.running for each in world.runtime.containers.values()))
        return await bootstrap(container)

    world.runtime.programs["agent"] = counting
    taken = [await world.start(world.agent(plan=PLAN)) for _ in range(3)]
    with pytest.raises(Overloaded):
        await world.start()
    created = [(await world.store.list_events(each.id))[0].data.get("ahead") for each in taken]
    assert created == [None, 0, 1]
    await world.until(lambda: not any(world.daemon.supervisor.is_running(each.id) for each in taken))
    assert most == 1
    states = {(await world.store.get_execution(each.id)).state for each in taken}
    assert states == {ExecutionState.COMPLETED}


async def test_one_of_another_tenant_is_next_however_many_the_first_has_asked_for() -> None:
    world = World.make(FakeModel(RIGHT), concurrent=1)
    agent, order = world.agent(plan=PLAN), []
    bootstrap = world.runtime.programs["agent"]

    async def noting(container: FakeContainer) -> int:
        order.append(container.spec.labels["aegis.tenant_id"])
        return await bootstrap(container)

    world.runtime.programs["agent"] = noting
    many = [await world.daemon.supervisor.start(agent, "", "many") for _ in range(5)]
    one = await world.daemon.supervisor.start(agent, "", "one")
    await world.until(lambda: not any(world.daemon.supervisor.is_running(each.id) for each in (*many, one)))
    assert order[:3].count("one") == 1 and order.count("many") >= 5


async def test_an_image_comes_while_its_execution_waits_and_nothing_depends_on_it() -> None:
    world = World.make(FakeModel(HANG), concurrent=1)
    first = await world.start()
    await world.until(lambda: len(world.runtime.started) == 1)
    asked = len(world.runtime.pulls)
    await world.start(world.agent(runtime=Runtime(image="another:1")))
    await world.until(lambda: "another:1" in world.runtime.pulls[asked:])
    assert (await world.store.get_execution(first.id)).state is ExecutionState.RUNNING
    await world.daemon.supervisor.close()
    assert await world.leftovers() == []


async def test_a_waiting_execution_can_be_cancelled_and_never_starts() -> None:
    world = World.make(FakeModel(HANG), concurrent=1)
    await world.start()
    await world.until(lambda: len(world.runtime.started) == 1)
    waiting = await world.start()
    await world.daemon.supervisor.cancel(waiting.id)
    cancelled = await world.finish(waiting)
    assert (cancelled.state, cancelled.started_at) == (ExecutionState.CANCELLED, None)
    await world.daemon.supervisor.close()


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_at_any_moment_it_ends_cancelled_or_done_and_leaves_nothing(times: int) -> None:
    """At every turn of the event loop, from the start until it has completed before it could be cancelled."""
    for turns in range(1000):
        if await cancelled_after(turns, times) is ExecutionState.COMPLETED:
            assert turns > 50, "it was cancelled at every stage"
            return
    raise AssertionError("it never completed")


async def cancelled_after(turns: int, times: int) -> ExecutionState:
    world = World.make(FakeModel(WRONG, RIGHT))
    execution = await world.start(world.agent(plan=ExecutionPlan(max_iterations=2)))
    for _ in range(turns):
        await asyncio.sleep(0)
    try:
        for _ in range(times):
            await world.daemon.supervisor.cancel(execution.id)
    except Conflict:
        pass
    ended = await world.finish(execution)
    assert ended.state in (ExecutionState.CANCELLED, ExecutionState.COMPLETED), turns
    assert await world.leftovers() == [], turns
    assert (await world.kinds(execution))[-1] == f"execution.{ended.state.value}", turns
    states = {iteration.state for iteration in await world.store.list_iterations(execution.id)}
    assert IterationState.RUNNING not in states, turns
    return ended.state


async def test_cancelling_during_a_creation_waits_for_it_so_that_it_can_be_undone() -> None:
    world = World.make(FakeModel(RIGHT))
    gate = asyncio.Event()
    create = world.runtime.create

    async def slow(spec: Any) -> str:
        await gate.wait()
        return await create(spec)

    world.runtime.create = slow  # type: ignore[method-assign]
    execution = await world.start()
    await world.until(lambda: bool(world.runtime.volumes))
    await world.daemon.supervisor.cancel(execution.id)
    gate.set()
    ended = await world.finish(execution)
    assert ended.state is ExecutionState.CANCELLED
    assert len(world.runtime.created) == 1
    assert await world.leftovers() == []


async def test_an_ended_execution_cannot_be_cancelled_and_a_cancelled_one_again() -> None:
    world = World.make(FakeModel(RIGHT))
    done = await world.run(world.agent(plan=PLAN))
    with pytest.raises(Conflict, match="is completed already"):
        await world.daemon.supervisor.cancel(done.id)
    with pytest.raises(NotFound):
        await world.daemon.supervisor.cancel("no-such")


async def test_a_stopping_daemon_ends_its_executions_clears_up_and_takes_no_more() -> None:
    world = World.make(FakeModel(HANG))
    running = await world.start()
    await world.until(lambda: len(world.runtime.started) == 1)
    await world.daemon.supervisor.close()
    ended = await world.store.get_execution(running.id)
    assert (ended.state, ended.error_code) == (ExecutionState.FAILED, "daemon_stopped")
    assert await world.leftovers() == []
    with pytest.raises(Conflict):
        await world.start()


async def test_two_executions_at_once_do_not_see_each_others_files() -> None:
    def write(text: str) -> list[Any]:
        return [answer("", call("fs.write", path=PATH, content=text)), answer("done")]

    world = World.make(FakeModel(write("hello")))
    both = [await world.start(world.agent(plan=PLAN)) for _ in range(2)]
    for execution in both:
        assert (await world.finish(execution)).state is ExecutionState.COMPLETED
    assert await world.leftovers() == []


async def test_a_regex_on_the_final_response_judges_it() -> None:
    world = World.make(FakeModel([answer("no")], [answer("the answer is 42")]))
    plan = ExecutionPlan(max_iterations=2, validators=(RegexValidator(pattern=r"\b42\b"),))
    execution = await world.run(world.agent(plan=plan))
    assert (execution.state, execution.output) == (ExecutionState.COMPLETED, "the answer is 42")
