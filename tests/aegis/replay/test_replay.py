"""A replay decides what was decided, from the record alone; and whatever is changed in a record is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from aegis.api.views import EventView, ExecutionView, RecordView
from aegis.domain.contexts import Capability, RateLimit, SecurityContext
from aegis.domain.execution import Execution
from aegis.domain.manifest import (
    ConsensusMode,
    ExecutionMode,
    ExecutionPlan,
    ExitCodeValidator,
    Judge,
    MultiJudgeValidator,
    NetworkMode,
    NetworkPolicy,
    RegexValidator,
    Resources,
    ScriptValidator,
    Security,
    SemanticValidator,
    Validator,
)
from aegis.errors import ContainerFailed, ModelFailed, Refused
from aegis.ports import Finish, ModelReply, ToolCall
from aegis.replay import Report, read_record, replay
from aegis.services.server_tools import AnyArguments
from aegis.services.tools import Tool, ToolContext
from aegis.services.web_tool import web_tool
from tests.support.clock import settle
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.fakes_runtime import Fault
from tests.support.world import World

PATH = "/workspace/out.txt"
CHECK = ScriptValidator(command=("check", PATH, "hello"))
WRONG = [answer("first", call("fs.write", path=PATH, content="hullo")), answer("done, I think")]
RIGHT = [answer("now", call("cmd.run", command="write", args=[PATH, "hello"])), answer("done")]
BUSY = [answer("", call("cmd.run", command="print", args=["x" * 100_000]), call("fs.list", path="/workspace"))]


def opinion(score: float, reasoning: str = "so so") -> ModelReply:
    return answer("I say: " + json.dumps({"score": score, "confidence": 0.9, "reasoning": reasoning}))


def plan(*validators: Validator, iterations: int = 3, **more: Any) -> ExecutionPlan:
    return ExecutionPlan(max_iterations=iterations, validators=validators, **more)


async def record_of(world: World, execution: Execution) -> dict[str, Any]:
    """As the API and `task export` make it, through JSON."""
    stored = await world.store.get_execution(execution.id)
    iterations = await world.store.list_iterations(execution.id)
    loops = {each.number: await world.store.load_inner_loop(execution.id, each.number) for each in iterations}
    view = RecordView(
        version="test",
        execution=ExecutionView.of(stored, iterations),
        manifest=stored.manifest,
        conversations={number: dict(state) for number, state in loops.items() if state is not None},
    )
    events = [EventView.of(each).model_dump(mode="json") for each in await world.store.list_events(execution.id)]
    document: dict[str, Any] = json.loads(view.model_dump_json())
    return {**document, "events": json.loads(json.dumps(events))}


async def replayed(document: dict[str, Any]) -> Report:
    return await replay(read_record(document, "the test"))


async def run(model: FakeModel, **agent: Any) -> tuple[World, Execution, dict[str, Any]]:
    world = World.make(model)
    execution = await world.run(world.agent(**agent))
    return world, execution, await record_of(world, execution)


def judges(*names: str) -> tuple[Judge, ...]:
    return tuple(Judge(name=name) for name in names)


def with_judges(**opinions: list[ModelReply]) -> FakeModel:
    model = FakeModel(WRONG, RIGHT)
    model.agents = {name: [[turn] for turn in turns] for name, turns in opinions.items()}
    return model


PANEL = MultiJudgeValidator(judges=judges("ada", "bob", "cyd"), consensus=ConsensusMode.MAJORITY)
LIMITED = SecurityContext(
    name="limited",
    capabilities=(
        Capability(tool_pattern="fs.*", rate_limit=RateLimit(calls_per_execution=2)),
        Capability(tool_pattern="cmd.run", commands={"write": ("*",)}),
    ),
    deny=("fs.delete",),
)
POLICED = [
    answer("", call("fs.delete", path=PATH), call("fs.list", path="/workspace"), call("cmd.run", command="rm")),
    answer("", call("fs.list", path="/workspace"), call("fs.list", path="/workspace"), call("nonsense")),
    answer("", ToolCall("c", "fs.read", {}, "no JSON"), call("fs.read", file="x"), call("fs.read", path="/etc/passwd")),
    answer("done"),
]

SCENARIOS: dict[str, Callable[[], tuple[FakeModel, dict[str, Any]]]] = {
    "wrong then right": lambda: (FakeModel(WRONG, RIGHT), {"plan": plan(CHECK)}),
    "never right": lambda: (FakeModel(WRONG), {"plan": plan(ExitCodeValidator(), CHECK, iterations=2)}),
    "one-shot": lambda: (FakeModel(WRONG), {"plan": plan(CHECK, mode=ExecutionMode.ONE_SHOT)}),
    "a template": lambda: (
        FakeModel(WRONG, RIGHT),
        {"plan": plan(CHECK), "prompt_template": "{{iteration_number}}: {{input}} {{previous_error}}"},
    ),
    "refused hosts": lambda: (
        FakeModel([answer("", call("cmd.run", command="visit", args=["evil.test"])), answer("done")]),
        {"plan": plan()},
    ),
    "long results": lambda: (FakeModel([*BUSY, answer("y" * 50_000)]), {"plan": plan()}),
    "too many rounds": lambda: (FakeModel(BUSY), {"plan": plan(iterations=1)}),
    "policy": lambda: (
        FakeModel(POLICED),
        {"plan": plan(), "security_context": "limited", "security_contexts": (LIMITED,)},
    ),
    "out of time": lambda: (
        FakeModel([answer("", call("cmd.run", command="hang"))]),
        {"plan": plan(iterations=2), "resources": Resources(timeout_seconds=30)},
    ),
    "judges that do not agree": lambda: (
        with_judges(
            ada=[opinion(0.2, "no"), opinion(0.9)],
            bob=[opinion(0.4, "nearly"), opinion(0.8)],
            cyd=[opinion(0.9), opinion(0.1, "never")],
        ),
        {"plan": plan(PANEL, RegexValidator(pattern="done"))},
    ),
    "a judge that is let off": lambda: (
        with_judges(default=[answer("?")]),
        {"plan": plan(SemanticValidator(fallback_on_unavailable=True))},
    ),
    "a judge that fails": lambda: (with_judges(default=[answer("?")]), {"plan": plan(SemanticValidator())}),
    "a file to judge that is not there": lambda: (
        FakeModel([answer("done")]),
        {"plan": plan(SemanticValidator(targets=(PATH,)), iterations=2)},
    ),
    "a refusal": lambda: (
        FakeModel([ModelReply("I will not.", finish=Finish.REFUSAL)], RIGHT),
        {"plan": plan(iterations=2)},
    ),
    "an answer that was cut": lambda: (
        FakeModel([ModelReply("It is", finish=Finish.LENGTH)]),
        {"plan": plan(iterations=2)},
    ),
    "a provider that refuses": lambda: (FakeModel([ModelFailed("no", retryable=False)]), {"plan": plan()}),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_replay_decides_the_same(name: str) -> None:
    model, agent = SCENARIOS[name]()
    _, _, record = await run(model, **agent)
    report = await replayed(record)
    found = report.difference
    assert found is None, (found.where, found.recorded, found.replayed)
    assert report.decisions > 2


async def test_what_was_refused_on_the_network_is_in_the_record_and_told_again() -> None:
    model, agent = SCENARIOS["refused hosts"]()
    _, _, record = await run(model, **agent)
    [done] = [each["data"] for each in record["events"] if each["kind"] == "dispatch.completed"]
    assert "evil.test:443 is refused" in done["remarks"][0]
    done["remarks"] = ["something else"]
    assert (await replayed(record)).difference is not None


async def test_an_iteration_that_the_world_let_begin_again_is_replayed_from_its_last_beginning() -> None:
    world = World.make(FakeModel(RIGHT))
    world.runtime.faults["start"] = [Fault(ContainerFailed("engine away"))]
    execution = await world.run(world.agent(plan=plan(CHECK)))
    assert "iteration.retried" in await world.kinds(execution)
    assert (await replayed(await record_of(world, execution))).difference is None


async def test_what_was_cancelled_is_replayed_as_far_as_it_went() -> None:
    world = World.make(FakeModel(WRONG, [answer("", call("cmd.run", command="hang"))]))
    execution = await world.start(world.agent(plan=plan(CHECK)))
    await world.until(lambda: len(world.runtime.started) == 3)
    assert (await replayed(await record_of(world, execution))).difference is None  # in the middle of it, too
    await world.daemon.supervisor.cancel(execution.id)
    await world.finish(execution)
    assert (await replayed(await record_of(world, execution))).difference is None


async def test_tools_of_a_server_that_is_not_there_any_more_are_known_from_the_record() -> None:
    async def perform(arguments: Any, context: ToolContext) -> str:
        return f"noted {arguments.model_extra}"

    world = World.make(
        FakeModel(
            [answer("", call("notes.add", text="x"), call("nothing")), answer("", call("late.one")), answer("done")]
        )
    )
    world.daemon.served_tools = [Tool("notes.add", "Notes", AnyArguments, perform)]
    execution = await world.start(world.agent(plan=plan(), tools=("notes.*", "late.*")))
    while "model.called" not in await world.kinds(execution):
        await settle(1)
    world.daemon.served_tools += [Tool("late.one", "Late", AnyArguments, perform)]
    await world.finish(execution)
    record = await record_of(world, execution)
    assert "there are: notes.add" in first(record, "tool.denied")["reason"]
    report = await replayed(record)
    assert report.difference is None, (report.difference.where, report.difference.recorded, report.difference.replayed)


async def test_where_the_web_was_read_is_decided_again_by_the_network_policy() -> None:
    async def fetched(arguments: Any, context: ToolContext) -> str:
        return f"{arguments.url}\nstatus: 200"

    model = FakeModel([answer("", *(call("web.fetch", url=f"http://{host}.org/") for host in "ab")), answer("done")])
    world = World.make(model)
    world.daemon.served_tools = [web_tool(fetched)]
    network = NetworkPolicy(mode=NetworkMode.ALLOW, allowlist=("a.org",))
    execution = await world.run(world.agent(plan=plan(), tools=("web.*",), security=Security(network=network)))
    record = await record_of(world, execution)
    assert "b.org" in first(record, "tool.denied")["reason"]
    assert (await replayed(record)).difference is None
    record["manifest"]["security"]["network"]["allowlist"] = ["a.org", "b.org"]
    report = await replayed(record)
    assert report.difference is not None and report.difference.replayed["kind"] == "tool.allowed"


async def test_an_agent_that_judged_can_be_replayed_as_well() -> None:
    model = FakeModel(RIGHT)
    model.agents = {"reviewer": [[answer("", call("fs.read", path=PATH)), opinion(0.9)]]}
    world = World.make(model)
    await world.store.add_agent(world.agent(name="reviewer", plan=plan()))
    semantic = SemanticValidator(judge=Judge(agent="reviewer"))
    execution = await world.run(world.agent(plan=plan(semantic)))
    for each in await world.store.list_executions():
        report = await replayed(await record_of(world, each))
        assert report.difference is None, report.difference
    assert execution.output == "done"


Change = Callable[[dict[str, Any]], None]


def first(record: dict[str, Any], kind: str) -> dict[str, Any]:
    data: dict[str, Any] = next(event["data"] for event in record["events"] if event["kind"] == kind)
    return data


def set_at(*path: Any, to: Any) -> Change:
    def change(record: dict[str, Any]) -> None:
        here: Any = record
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = to

    return change


def in_event(kind: str, key: str, to: Any) -> Change:
    return lambda record: first(record, kind).update({key: to})


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (set_at("manifest", "instruction", to="Write bye"), "iteration 1, prompt"),
        (set_at("manifest", "description", to="Writes."), "iteration 1, system prompt"),
        (set_at("manifest", "tools", to=["cmd.run"]), "iteration 1, tool.denied"),
        (set_at("execution", "input", to="other"), "iteration 1, prompt"),
        (set_at("conversations", "1", "messages", 2, "content", to="else"), "iteration 1, model.called"),
        (
            set_at("conversations", "1", "messages", 2, "tool_calls", 0, "arguments", "path", to="/workspace/b"),
            "iteration 1, tool.called",
        ),
        (set_at("conversations", "2", "messages", 3, "content", to="exit code: 7"), "iteration 2, message 4"),
        (in_event("tool.completed", "result", "wrote 9 bytes"), "iteration 1, tool.completed"),
        (in_event("dispatch.sent", "args", [PATH, "bye"]), "iteration 2, dispatch.sent"),
        (in_event("dispatch.completed", "stdout", "wrote nothing"), "iteration 2, message 4"),
        (
            in_event("judge.answered", "answer", '{"score": 1, "confidence": 1, "reasoning": "x"}'),
            "judge.answered of ada",
        ),
        (set_at("execution", "iterations", 0, "judgements", 0, "score", to=0.31), "iteration 1, multi_judge[0]"),
        (set_at("execution", "iterations", 0, "judgements", 0, "passed", to=True), "iteration 1, multi_judge[0]"),
        (set_at("manifest", "execution", "validators", 0, "min_score", to=0.1), "iteration 1, multi_judge[0]"),
        (set_at("execution", "iterations", 0, "judgements", to=[]), "iteration 1, multi_judge[0]"),
        (set_at("execution", "iterations", 0, "feedback", to="try harder"), "iteration 1, feedback"),
        (set_at("execution", "iterations", 0, "state", to="success"), "iteration 1, its end"),
        (set_at("execution", "iterations", 1, "final", to="finished"), "iteration 2, final response"),
        (set_at("execution", "output", to="finished"), "the end of the execution"),
        (set_at("manifest", "execution", "max_iterations", to=1), "iteration 2, whether there is one"),
        (lambda record: record["execution"]["iterations"].pop(), "the end of the execution"),
        (
            lambda record: record["events"].remove(
                next(event for event in record["events"] if event["kind"] == "tool.allowed")
            ),
            "iteration 1, tool.allowed",
        ),
    ],
)
async def test_what_was_decided_otherwise_is_found_with_both_sides(change: Change, where: str) -> None:
    model = with_judges(
        ada=[opinion(0.2, "no"), opinion(0.9)], bob=[opinion(0.4), opinion(0.8)], cyd=[opinion(0.9), opinion(0.1)]
    )
    _, _, record = await run(model, plan=plan(PANEL))
    changed = copy.deepcopy(record)
    change(changed)
    report = await replayed(changed)
    assert report.difference is not None
    assert where in report.difference.where
    assert report.difference.recorded != report.difference.replayed


async def test_an_exit_code_is_judged_again() -> None:
    _, _, record = await run(FakeModel(RIGHT), plan=plan(ExitCodeValidator()))
    record["execution"]["iterations"][0]["exit_code"] = 3
    report = await replayed(record)
    assert report.difference is not None and report.difference.where == "iteration 1, exit_code[0]"


async def test_a_rate_limit_is_reached_at_the_recorded_times_and_not_at_ours() -> None:
    """Three calls within one second are one too many; had the last come an hour later, it would have been allowed."""
    _, _, record = await run(
        FakeModel([answer("", *(call("fs.list", path="/workspace") for _ in range(3))), answer("done")]),
        plan=plan(),
        security_context="limited",
        security_contexts=(
            SecurityContext(
                name="limited",
                capabilities=(Capability(tool_pattern="fs.*", rate_limit=RateLimit(calls_per_minute=2)),),
            ),
        ),
    )
    assert first(record, "tool.denied")
    assert (await replayed(record)).difference is None
    late = [event for event in record["events"] if event["kind"].startswith("tool.")][-2:]
    for event in late:
        event["at"] = "2026-01-01T01:00:00+00:00"
    report = await replayed(record)
    assert report.difference is not None and report.difference.where == "iteration 1, tool.allowed"


async def test_what_a_process_in_the_container_called_by_itself_is_passed_over_and_counts_for_the_limits() -> None:
    limited = SecurityContext(
        name="limited",
        capabilities=(
            Capability(tool_pattern="fs.*", rate_limit=RateLimit(calls_per_execution=2)),
            Capability(tool_pattern="cmd.run"),
        ),
    )
    first_turn = answer("", call("fs.list", path="/workspace"), call("cmd.run", command="hang"))
    second_turn = answer("", call("fs.list", path="/workspace"), call("fs.glob", pattern="*"))
    world = World.make(FakeModel([first_turn], [second_turn, answer("done")]))
    agent = world.agent(
        plan=plan(iterations=2),
        resources=Resources(timeout_seconds=30),
        security_context="limited",
        security_contexts=(limited,),
    )
    execution = await world.start(agent)
    while "dispatch.sent" not in await world.kinds(execution):
        await world.until(lambda: True)
    await world.daemon.inner_loop.call_tool(execution.id, 1, call("fs.list", path="/workspace"))
    await world.daemon.inner_loop.call_tool(execution.id, 1, call("fs.delete", path="/workspace/x"))
    await world.finish(execution)
    record = await record_of(world, execution)
    denied = [event for event in record["events"] if event["kind"] == "tool.denied"]
    assert len(denied) == 3  # the container's second, and both of the second iteration
    report = await replayed(record)
    assert report.difference is None, (report.difference.where, report.difference.recorded, report.difference.replayed)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "is no record of an execution: its format is None, wanted 'aegis.record/1'"),
        ([], "is no record of an execution"),
        ({"format": "aegis.record/2"}, "its format is 'aegis.record/2'"),
        ({"format": "aegis.record/1"}, "cannot be replayed: version: Field required; execution"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(document: Any, said: str) -> None:
    with pytest.raises(Refused) as caught:
        read_record(document, "file.json")
    assert said in str(caught.value)


async def test_a_record_that_does_not_say_what_its_node_decided_by_is_refused() -> None:
    _, _, record = await run(FakeModel(RIGHT), plan=plan())
    del first(record, "execution.started")["ground"]["tools"]
    with pytest.raises(Refused, match=r"The ground of execution .* cannot be replayed: tools: Field required"):
        await replayed(record)
    del first(record, "execution.started")["ground"]
    with pytest.raises(Refused, match="what its node decided by"):
        await replayed(record)
