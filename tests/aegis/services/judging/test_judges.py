"""Judges: models and agents asked for their opinion of an iteration, on services that behave like the real ones."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aegis.domain.execution import Agent, Execution, ExecutionState
from aegis.domain.iteration import IterationState
from aegis.domain.manifest import (
    AccessMode,
    ConsensusMode,
    ExecutionPlan,
    Judge,
    MultiJudgeValidator,
    ScriptValidator,
    SemanticValidator,
    Validator,
    VolumeSpec,
)
from aegis.errors import ModelFailed, NotFound
from aegis.ids import DEFAULT_TENANT
from aegis.ports import ModelReply
from aegis.services.judging.agents import with_volumes_of
from aegis.services.supervisor import GENERATIONS_MAX
from aegis.services.volumes import MountedVolume
from tests.support import samples
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.world import WORKSPACE, World

PATH = "/workspace/out.txt"
WORK = [answer("", call("fs.write", path=PATH, content="hello")), answer("it says hello")]
THREE = (Judge(name="ada"), Judge(name="bob"), Judge(name="cyd"))


def opinion(score: float, reasoning: str = "well", confidence: float = 0.9) -> ModelReply:
    return answer(json.dumps({"score": score, "confidence": confidence, "reasoning": reasoning}))


def panel(mode: ConsensusMode = ConsensusMode.MAJORITY, judges: tuple[Judge, ...] = THREE, **more: Any) -> Validator:
    return MultiJudgeValidator(judges=judges, consensus=mode, **more)


def plan(*validators: Validator, iterations: int = 3) -> ExecutionPlan:
    return ExecutionPlan(max_iterations=iterations, validators=validators)


async def told(world: World, execution: Execution, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in await world.store.list_events(execution.id) if event.kind == kind]


def asked(world: World, name: str) -> list[tuple[str, ...]]:
    """What the model was told on behalf of this judge or agent, each time."""
    return [
        tuple(message.content for message in messages)
        for context, messages, _ in world.model.asked
        if context.agent_name == name
    ]


# ---- models ----


async def test_a_majority_passes_and_the_minority_is_still_told() -> None:
    model = FakeModel(WORK)
    model.agents = {"ada": [[opinion(0.9)]], "bob": [[opinion(0.8)]], "cyd": [[opinion(0.1, "no tests")]]}
    world = World.make(model)
    execution = await world.run(world.agent(plan=plan(panel())))
    assert execution.state is ExecutionState.COMPLETED
    [iteration] = await world.store.list_iterations(execution.id)
    assert iteration.verdict is not None
    [judgement] = iteration.verdict.judgements
    assert (judgement.score, judgement.passed) == (pytest.approx(0.85), True)
    assert [(each.judge, each.score) for each in judgement.opinions] == [("ada", 0.9), ("bob", 0.8), ("cyd", 0.1)]
    assert "against 1 of 3 judges" in judgement.reason and "no tests" in judgement.reason
    answers = await told(world, execution, "judge.answered")
    assert sorted(each["judge"] for each in answers) == ["ada", "bob", "cyd"]
    assert {(each["input_tokens"], each["output_tokens"]) for each in answers} == {(10, 5)}


async def test_what_the_judges_miss_is_told_to_the_next_iteration_and_the_lowest_score_is_the_verdict() -> None:
    model = FakeModel(WORK)
    model.agents = {
        "ada": [[opinion(0.2, "there is no test")], [opinion(0.9)]],
        "bob": [[opinion(0.4, "too long")], [opinion(1)]],
        "cyd": [[opinion(0.9, "I like it")], [opinion(1)]],
    }
    world = World.make(model)
    check = ScriptValidator(command=("check", PATH, "hello"))
    execution = await world.run(world.agent(plan=plan(panel(), check)))
    first, second = await world.store.list_iterations(execution.id)
    assert (first.state, second.state) == (IterationState.REFINING, IterationState.SUCCESS)
    assert first.verdict is not None and first.verdict.score == pytest.approx(0.3)
    prompt = asked(world, "coder")[-1][1]
    for words in ("2 of 3 judges are against it", "there is no test", "too long", "cyd is content", "I like it"):
        assert words in prompt


async def test_a_judge_is_shown_the_response_the_files_and_what_was_checked_before() -> None:
    model = FakeModel(WORK)
    model.agents = {"default": [[opinion(1)]]}
    world = World.make(model)
    semantic = SemanticValidator(criteria="Does {{output}} hold?", targets=(PATH,))
    await world.run(world.agent(plan=plan(semantic, ScriptValidator(command=("check", PATH, "hello")))))
    [(system, question)] = asked(world, "default")
    assert "JSON object" in system
    assert "Criteria:\nDoes it says hello hold?" in question
    assert f"===== the file {PATH}\nhello\n" in question
    assert "script[1]: passed, score 1: `check" in question and "as wanted" in question


async def test_a_file_that_is_to_be_judged_and_is_not_there_is_the_agents_fault_and_no_judge_is_asked() -> None:
    world = World.make(FakeModel([answer("done")]))
    execution = await world.run(world.agent(plan=plan(SemanticValidator(targets=(PATH,)), iterations=1)))
    assert execution.error_code == "validation_failed"
    assert f"the file {PATH} does not exist" in (execution.error or "")
    assert asked(world, "default") == []


async def test_an_answer_that_cannot_be_used_is_told_to_the_judge_once() -> None:
    model = FakeModel(WORK)
    model.agents = {"default": [[answer("It is great, 9 of 10!"), opinion(0.9)]]}
    world = World.make(model)
    execution = await world.run(world.agent(plan=plan(SemanticValidator())))
    assert execution.state is ExecutionState.COMPLETED
    [unusable] = await told(world, execution, "judge.unusable")
    assert (unusable["answer"], unusable["attempt"]) == ("It is great, 9 of 10!", 1)
    *_, said, repaired = asked(world, "default")[-1]
    assert said == "It is great, 9 of 10!"
    assert "it holds no JSON object with a score" in repaired


async def test_a_judge_that_fails_is_not_the_agents_fault_and_no_iteration_is_told() -> None:
    model = FakeModel(WORK)
    model.agents = {"default": [[answer("nonsense")]]}
    world = World.make(model)
    execution = await world.run(world.agent(plan=plan(SemanticValidator())))
    assert (execution.state, execution.error_code) == (ExecutionState.FAILED, "judge_failed")
    assert "judge default gave 2 answers that cannot be used" in (execution.error or "")
    assert len(await world.store.list_iterations(execution.id)) == 1
    assert len(asked(world, "default")) == 2
    assert await world.leftovers() == []


async def test_a_judge_that_fails_among_enough_others_does_not_count() -> None:
    model = FakeModel(WORK)
    model.agents = {"ada": [[opinion(0.9)]], "bob": [[answer("?")]], "cyd": [[opinion(0.8)]]}
    world = World.make(model)
    execution = await world.run(world.agent(plan=plan(panel())))
    assert execution.state is ExecutionState.COMPLETED
    [failed] = await told(world, execution, "judge.failed")
    assert failed["judge"] == "bob"


async def test_too_few_judges_end_it_unless_the_manifest_lets_that_pass() -> None:
    model = FakeModel(WORK)
    model.agents = {"ada": [[opinion(0.9)]], "bob": [[answer("?")]], "cyd": [[answer("?")]]}
    world = World.make(model)
    execution = await world.run(world.agent(plan=plan(panel())))
    assert "1 of 3 judges of multi_judge[0] answered, wanted 2: judge bob gave" in (execution.error or "")
    lenient = await world.run(world.agent(plan=plan(panel(fallback_on_unavailable=True))))
    assert lenient.state is ExecutionState.COMPLETED
    [judged] = await told(world, lenient, "validator.judged")
    assert (judged["score"], judged["confidence"]) == (1.0, 0.0)
    assert "passed by fallback_on_unavailable" in judged["reason"]


async def test_a_judge_has_its_time_and_no_more_and_a_provider_that_may_come_back_is_asked_again() -> None:
    model = FakeModel(WORK)
    model.agents = {"ada": [[ModelFailed("busy")]], "bob": [[opinion(0.9)]], "cyd": [[opinion(0.9)]]}
    world = World.make(model)
    execution = await world.run(world.agent(plan=plan(panel(timeout_seconds=2))))
    assert execution.state is ExecutionState.COMPLETED
    [failed] = await told(world, execution, "judge.failed")
    assert failed["error"] == "judge ada has not answered within 2 s"
    assert len(asked(world, "ada")) > 1


async def test_nobody_sure_enough_is_said_as_that() -> None:
    model = FakeModel(WORK)
    model.agents = {"default": [[opinion(0.9, "hard to say", 0.2)]]}
    world = World.make(model)
    execution = await world.run(world.agent(plan=plan(SemanticValidator(min_confidence=0.5), iterations=1)))
    assert execution.error_code == "validation_failed"
    assert "not sure enough (confidence 0.20, wanted 0.50): hard to say" in (execution.error or "")


# ---- agents ----

LOOK = [
    answer("", call("fs.read", path=PATH)),
    answer("", call("fs.write", path=PATH, content="tampered")),
    answer("", call("cmd.run", command="write", args=[PATH, "tampered"])),
    opinion(0.9, "it says hello"),
]
BY_AGENT = SemanticValidator(judge=Judge(agent="reviewer"))


async def deployed(world: World, name: str = "reviewer", tenant_id: str = DEFAULT_TENANT, **changes: Any) -> Agent:
    made = world.agent(name=name, plan=changes.pop("plan", plan()), **changes)
    agent = Agent(made.id, tenant_id, made.manifest, made.created_at)
    await world.store.add_agent(agent)
    return agent


def with_reviewer(*turns: ModelReply) -> World:
    model = FakeModel(WORK)
    model.agents = {"reviewer": [list(turns) or LOOK]}
    return World.make(model)


async def child_of(world: World, execution: Execution) -> Execution:
    [child] = [each for each in await world.store.list_executions() if each.parent_id == execution.id]
    return child


async def test_an_agent_judges_as_a_child_that_reads_the_workspace_and_cannot_write_it() -> None:
    world = with_reviewer()
    await deployed(world, volumes=(WORKSPACE, VolumeSpec(name="scratch", mount_path="/scratch")))
    execution = await world.run(world.agent(plan=plan(BY_AGENT)))
    child = await child_of(world, execution)
    assert (execution.state, child.state) == (ExecutionState.COMPLETED, ExecutionState.COMPLETED)
    assert (child.tenant_id, child.agent_name) == (execution.tenant_id, "reviewer")
    results = [message.content for message in world.model.asked[-1][1] if message.role == "tool"]
    assert results[0].startswith("hello")
    assert "attached read-only" in results[1]
    assert "read-only" in results[2] and "exit code: 1" in results[2]
    mounts = {mount.target: mount for mount in world.runtime.created[-1].mounts}
    assert (mounts["/workspace"].read_only, mounts["/scratch"].read_only) == (True, False)
    assert await world.leftovers() == []


async def test_the_parents_volume_stays_attached_while_it_is_judged_and_the_child_leaves_it() -> None:
    world = with_reviewer(answer("", call("cmd.run", command="hang")))
    await deployed(world)
    execution = await world.start(world.agent(plan=plan(BY_AGENT)))
    await world.until(lambda: any(each.spec.name for each in world.runtime.containers.values() if _hangs(each)))
    held = await world.store.list_attachments()
    assert sorted(each.access_mode for each in held) == [AccessMode.READ_ONLY, AccessMode.READ_WRITE]
    assert len({each.volume_id for each in held}) == 1
    await world.daemon.supervisor.cancel(execution.id)
    ended = await world.finish(execution)
    child = await child_of(world, execution)
    assert (ended.state, child.state) == (ExecutionState.CANCELLED, ExecutionState.CANCELLED)
    assert await world.leftovers() == []


def _hangs(container: Any) -> bool:
    return container.running and "+" in "".join(mount.export_path for mount in container.spec.mounts)


async def test_what_the_child_cost_is_told_with_its_answer_and_is_on_its_parents_bill() -> None:
    world = with_reviewer()
    await deployed(world)
    execution = await world.run(world.agent(plan=plan(BY_AGENT)))
    [answered] = await told(world, execution, "judge.answered")
    assert (answered["input_tokens"], answered["output_tokens"]) == (40, 20)
    child = await child_of(world, execution)
    assert answered["execution_id"] == child.id
    used = {each: await world.store.list_usage(each) for each in (execution.id, child.id)}
    totals = {each: sum(one.calls for one in found) for each, found in used.items()}
    assert totals == {execution.id: 6, child.id: 4}  # two answers of its own, and the child's


async def test_judges_that_are_agents_do_not_wait_for_the_slot_their_parent_holds() -> None:
    model = FakeModel(WORK)
    model.agents = {name: [[opinion(0.9)]] for name in ("ada", "bob", "cyd")}
    world = World.make(model, concurrent=1)
    for name in model.agents:
        await deployed(world, name)
    agents = tuple(Judge(agent=name) for name in model.agents)
    started = [await world.start(world.agent(plan=plan(panel(judges=agents)))) for _ in range(3)]
    ended = [await world.finish(each) for each in started]
    assert [each.state for each in ended] == [ExecutionState.COMPLETED] * 3


async def test_an_agent_that_judges_itself_comes_to_an_end() -> None:
    world = with_reviewer(opinion(0.9))
    await deployed(world, plan=plan(BY_AGENT))
    execution = await world.run(world.agent(plan=plan(BY_AGENT)))
    assert execution.error_code == "judge_failed"
    assert "takes no further one" in (execution.error or "")
    assert len(await world.store.list_executions()) == GENERATIONS_MAX
    assert await world.leftovers() == []


async def test_a_judge_that_did_not_complete_has_failed_with_its_reason() -> None:
    world = with_reviewer(opinion(0.9))
    await deployed(world, plan=plan(ScriptValidator(command=("exit", "3")), iterations=1))
    execution = await world.run(world.agent(plan=plan(BY_AGENT)))
    child = await child_of(world, execution)
    assert execution.error_code == "judge_failed"
    assert f"judge reviewer (execution {child.id}) is failed: The only iteration did not pass" in (
        execution.error or ""
    )


async def test_a_child_that_answers_nonsense_is_run_once_more_and_told_why() -> None:
    world = with_reviewer(answer("I think it is fine"))
    await deployed(world)
    execution = await world.run(world.agent(plan=plan(BY_AGENT)))
    children = [each for each in await world.store.list_executions() if each.parent_id == execution.id]
    assert len(children) == 2
    assert sum("could not be used" in each.input for each in children) == 1


async def test_a_judge_over_its_time_is_ended_with_everything_it_holds() -> None:
    world = with_reviewer(answer("", call("cmd.run", command="hang")))
    await deployed(world)
    judge = SemanticValidator(judge=Judge(agent="reviewer"), timeout_seconds=20)
    execution = await world.run(world.agent(plan=plan(judge)))
    assert "judge reviewer has not answered within 20 s" in (execution.error or "")
    assert (await child_of(world, execution)).state is ExecutionState.CANCELLED
    assert await world.leftovers() == []


async def test_a_stopping_daemon_ends_parent_and_child() -> None:
    world = with_reviewer(answer("", call("cmd.run", command="hang")))
    await deployed(world)
    execution = await world.start(world.agent(plan=plan(BY_AGENT)))
    await world.until(lambda: any(_hangs(each) for each in world.runtime.containers.values()))
    closing = asyncio.create_task(world.daemon.supervisor.close())
    await world.until(closing.done)
    child = await child_of(world, execution)
    assert child.error_code == (await world.store.get_execution(execution.id)).error_code == "daemon_stopped"
    assert await world.leftovers() == []


async def test_only_an_agent_of_the_same_tenant_judges() -> None:
    world = with_reviewer()
    await deployed(world, tenant_id="other")
    with pytest.raises(NotFound, match="no agent reviewer"):
        await world.start(world.agent(plan=plan(BY_AGENT)))
    assert await world.store.list_executions() == []


async def test_a_model_that_is_to_judge_and_is_not_there_is_known_at_the_start() -> None:
    world = World.make(FakeModel(WORK))
    with pytest.raises(NotFound, match="no model smart"):
        await world.start(world.agent(plan=plan(SemanticValidator(judge=Judge(model_alias="smart")))))


def test_a_judges_own_volumes_give_way_to_its_parents() -> None:
    volume = samples.volume()
    spec = VolumeSpec(name="w", mount_path="/workspace")
    mounted = MountedVolume(spec, volume, samples.attachment(volume), volume.export_path)
    own = [VolumeSpec(name=path[1:2], mount_path=path) for path in ("/workspace/a", "/workspace", "/work", "/other")]
    found = with_volumes_of(samples.manifest(volumes=tuple(own)), [mounted]).volumes
    assert [(each.mount_path, each.source_volume_id, each.access_mode) for each in found] == [
        ("/workspace", volume.id, AccessMode.READ_ONLY),
        ("/work", None, AccessMode.READ_WRITE),
        ("/other", None, AccessMode.READ_WRITE),
    ]
