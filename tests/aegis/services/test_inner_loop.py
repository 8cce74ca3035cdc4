"""The inner loop as a container's bootstrap meets it: repeated calls, lost replies, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from aegis.domain.execution import Execution
from aegis.domain.iteration import IterationState
from aegis.domain.manifest import ExecutionPlan
from aegis.errors import Conflict, DatabaseUnavailable, ModelContextTooLong, ModelFailed, NetworkDenied, Overloaded
from aegis.ids import DEFAULT_TENANT
from aegis.ports import Finish, ModelReply
from aegis.services.agent_calls import AT_ONCE_MAX
from aegis.services.conversation import CALLS_IN_ONE_ANSWER_MAX, Conversation
from aegis.services.inner_loop import ROUNDS_MAX, InnerLoop
from aegis.services.outcomes import IterationFailed
from aegis.services.recorder import Journal
from aegis.services.running_output import OUTPUT_CHARACTERS_MAX
from aegis.services.sessions import Session
from aegis.services.tools import ToolResult
from tests.support import samples
from tests.support.clock import settle
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.world import World

RUN = call("cmd.run", command="make", args=["test"])


def result(dispatch_id: str, stdout: str = "fine", exit_code: int = 0) -> dict[str, Any]:
    return {
        "type": "dispatch_result",
        "dispatch_id": dispatch_id,
        "exit_code": exit_code,
        "stdout": stdout,
        "stderr": "",
        "duration_ms": 5,
        "truncated": False,
    }


class Talk:
    """One iteration, open, with the requests bootstrap would send."""

    def __init__(self, loop: InnerLoop, execution: Execution, session: Session) -> None:
        self.loop, self.execution, self.session = loop, execution, session

    async def generate(self) -> dict[str, Any]:
        return await self.loop.generate(self.execution.id, {"iteration_number": 1, "prompt": "mine", "messages": []})

    async def report(self, dispatch_id: str, stdout: str = "fine") -> dict[str, Any]:
        return await self.loop.dispatch_result(self.execution.id, result(dispatch_id, stdout))

    async def final(self) -> Any:
        return await self.loop.wait_final(self.execution, 1)


@asynccontextmanager
async def talk(world: World, *, resume: Execution | None = None) -> AsyncIterator[Talk]:
    daemon = world.daemon
    execution = resume or await stored(world)
    mounted = [await daemon.volumes.attach(execution, spec) for spec in execution.manifest.volumes]
    async with daemon.inner_loop.session(execution, 1, "the task", mounted, resume=resume is not None) as session:
        yield Talk(daemon.inner_loop, execution, session)
    await daemon.volumes.release(execution)


async def stored(world: World) -> Execution:
    execution = replace(samples.execution(tenant_id=DEFAULT_TENANT), manifest=world.agent().manifest)
    await world.store.add_execution(execution)
    return execution


async def test_what_was_refused_to_a_command_is_told_with_its_result_and_is_in_the_record() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        journal = Journal(world.daemon.events, world.clock, bootstrap.execution.id, 1)
        async with world.daemon.egress.session(bootstrap.execution, journal) as way_out:
            dispatch = await bootstrap.generate()
            with pytest.raises(NetworkDenied):
                await way_out.admit("evil.test", 443)
            await bootstrap.report(dispatch["dispatch_id"])
        told = world.model.asked[-1][1][-1].content
        assert "(aegis: evil.test:443 is refused: not on security.network.allowlist" in told
        [done] = [e for e in await world.store.list_events(bootstrap.execution.id) if e.kind == "dispatch.completed"]
        assert done.data["remarks"][0].startswith("evil.test:443 is refused")


async def test_a_dispatch_carries_the_command_as_the_protocol_wants_it() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        dispatch = await bootstrap.generate()
        assert dispatch == {
            "type": "dispatch",
            "dispatch_id": dispatch["dispatch_id"],
            "action": "exec",
            "command": "make",
            "args": ["test"],
            "cwd": "/workspace",
            "env_additions": {},
            "timeout_secs": 60.0,
            "max_output_bytes": 524288,
        }
        final = await bootstrap.report(dispatch["dispatch_id"])
        assert (final["type"], final["content"], final["tool_calls_executed"]) == ("final", "done", 1)
        assert [each["role"] for each in final["conversation"]] == ["system", "user", "assistant", "tool", "assistant"]
        assert (await bootstrap.final()).content == "done"


async def test_a_repeated_generate_is_answered_by_the_same_dispatch_and_asks_the_model_once() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        first, second = await asyncio.gather(bootstrap.generate(), bootstrap.generate())
        third = await bootstrap.generate()
        assert first == second == third
        assert len(world.model.asked) == 1


async def test_a_repeated_result_is_taken_once_and_answered_by_what_followed() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        first = await bootstrap.generate()
        second = await bootstrap.report(first["dispatch_id"], "the true output")
        again = await bootstrap.report(first["dispatch_id"], "a repetition")
        assert second == again
        assert second["dispatch_id"] != first["dispatch_id"]
        final = await bootstrap.report(second["dispatch_id"])
        assert await bootstrap.report(first["dispatch_id"]) == final
        results = [each["content"] for each in final["conversation"] if each["role"] == "tool"]
        assert len(results) == 2
        assert "the true output" in results[0]


async def test_a_result_for_a_dispatch_never_sent_is_refused() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        await bootstrap.generate()
        with pytest.raises(Conflict, match="is none of iteration 1"):
            await bootstrap.report("11111111-2222-3333-4444-555555555555")


async def test_a_caller_that_goes_away_does_not_break_off_the_step() -> None:
    world = World.make(FakeModel([answer("done")]))
    gate, begun = asyncio.Event(), []
    complete = world.model.complete

    async def slow(*args: Any) -> ModelReply:
        begun.append(True)
        await gate.wait()
        return await complete(*args)

    world.model.complete = slow  # type: ignore[method-assign]
    async with talk(world) as bootstrap:
        lost = asyncio.create_task(bootstrap.generate())
        await settle()
        lost.cancel()
        await settle()
        gate.set()
        assert (await bootstrap.generate())["content"] == "done"
        assert len(begun) == 1, "the model was not asked a second time"


async def test_several_calls_in_one_answer_are_executed_in_their_order() -> None:
    calls = [
        replace(call("fs.write", path="a.txt", content="one"), id="1"),
        replace(call("cmd.run", command="cat", args=["a.txt"]), id="2"),
        replace(call("fs.read", path="a.txt"), id="3"),
    ]
    world = World.make(FakeModel([answer("", *calls), answer("done")]))
    async with talk(world) as bootstrap:
        dispatch = await bootstrap.generate()
        final = await bootstrap.report(dispatch["dispatch_id"], "from the container")
        results = [(each["tool_call_id"], each["content"]) for each in final["conversation"] if each["role"] == "tool"]
        assert [call_id for call_id, _ in results] == ["1", "2", "3"]
        assert "from the container" in results[1][1]
        assert results[2][1] == "one"
        assert len(world.model.asked) == 2


async def test_calls_beyond_the_bound_of_one_answer_are_not_made() -> None:
    calls = [replace(call("fs.list", path="/workspace"), id=str(n)) for n in range(CALLS_IN_ONE_ANSWER_MAX + 10)]
    world = World.make(FakeModel([answer("", *calls), answer("done")]))
    async with talk(world) as bootstrap:
        assert (await bootstrap.generate())["tool_calls_executed"] == CALLS_IN_ONE_ANSWER_MAX


async def test_a_model_that_never_comes_to_an_end_is_stopped_after_fifty_rounds() -> None:
    world = World.make(FakeModel([answer("", call("fs.list", path="/workspace"))]))
    async with talk(world) as bootstrap:
        with pytest.raises(Conflict, match="is over"):
            await bootstrap.generate()
        with pytest.raises(IterationFailed, match="no final response within 50 rounds"):
            await bootstrap.final()
    assert len(world.model.asked) == ROUNDS_MAX


async def test_what_a_model_gets_wrong_is_told_to_it_and_ends_nothing() -> None:
    wrong = [
        call("fs.fly", path="x"),
        call("fs.read"),
        call("fs.read", path="missing.txt"),
        call("fs.read", path="/etc/passwd"),
        replace(call("fs.read"), arguments_error="Expecting value: line 1"),
    ]
    numbered = [replace(each, id=str(n)) for n, each in enumerate(wrong)]
    world = World.make(FakeModel([answer("", *numbered), answer("done")]))
    async with talk(world) as bootstrap:
        final = await bootstrap.generate()
    results = [each["content"] for each in final["conversation"] if each["role"] == "tool"]
    assert results[0].startswith("error: there is no tool 'fs.fly'; there are: cmd.run, fs.read")
    assert results[1] == "error: wrong arguments for fs.read: path: Field required"
    assert results[2] == "error: missing.txt does not exist"
    assert "is not in a workspace" in results[3]
    assert "cannot be read: Expecting value" in results[4]


async def test_the_prompt_is_ours_whatever_the_container_says() -> None:
    world = World.make(FakeModel([answer("done")]))
    async with talk(world) as bootstrap:
        task = await bootstrap.loop.task(bootstrap.execution, 1)
        await bootstrap.generate()
    assert (task["prompt"], task["iteration_number"], task["model_alias"]) == ("the task", 1, "default")
    assert [message.content for message in world.model.asked[0][1]][1:] == ["the task"]


async def test_only_the_iteration_under_way_is_answered() -> None:
    world = World.make(FakeModel([answer("done")]))
    async with talk(world) as bootstrap:
        execution = bootstrap.execution
        with pytest.raises(Conflict, match=r"Iteration 2 .* is over: 1 is under way"):
            await bootstrap.loop.task(execution, 2)
    with pytest.raises(Conflict, match="has no iteration under way"):
        await bootstrap.generate()


async def test_closing_the_session_answers_who_still_waits() -> None:
    world = World.make(FakeModel([answer("done")]))
    world.model.hang = True
    async with talk(world) as bootstrap:
        waiting = asyncio.create_task(bootstrap.generate())
        await settle()
    with pytest.raises(Conflict, match="is over"):
        await waiting


async def test_a_store_that_fails_is_the_callers_to_repeat_and_loses_nothing() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        dispatch = await bootstrap.generate()
        save, failing = world.store.save_inner_loop, True

        async def away(*args: Any) -> None:
            if failing:
                raise DatabaseUnavailable("away")
            await save(*args)

        world.store.save_inner_loop = away  # type: ignore[method-assign]
        with pytest.raises(DatabaseUnavailable):
            await bootstrap.report(dispatch["dispatch_id"])
        assert await bootstrap.generate() == dispatch
        failing = False
        assert (await bootstrap.report(dispatch["dispatch_id"]))["content"] == "done"


async def test_a_provider_that_fails_ends_the_session_for_both_sides() -> None:
    world = World.make(FakeModel([ModelFailed("no such model", retryable=False)]))
    async with talk(world) as bootstrap:
        with pytest.raises(Conflict):
            await bootstrap.generate()
        with pytest.raises(ModelFailed, match="no such model"):
            await bootstrap.final()


@pytest.mark.parametrize("taken", [False, True])
async def test_a_daemon_that_starts_again_goes_on_where_the_stored_state_stands(taken: bool) -> None:
    world = World.make(FakeModel([answer("", RUN), answer("", RUN), answer("done")]))
    async with talk(world) as before:
        first = await before.generate()
        expected = await before.report(first["dispatch_id"]) if taken else first
        execution = before.execution
    world.restart()
    async with talk(world, resume=execution) as after:
        assert await after.generate() == expected
        if taken:
            assert await after.report(first["dispatch_id"]) == expected
    assert len(world.model.asked) == (2 if taken else 1)


async def test_a_tool_the_manifest_does_not_name_is_refused_and_told() -> None:
    world = World.make(FakeModel([answer("", call("fs.delete", path="a")), answer("done")]))
    agent = world.agent(tools=("fs.read",))
    execution = await world.run(agent)
    assert "tool.denied" in await world.kinds(execution)
    _, messages, specs = world.model.asked[-1]
    assert specs == ("fs.read",)
    assert "the tool fs.delete is not allowed here (allowed: fs.read)" in messages[-1].content


async def test_calls_of_the_container_itself_are_bounded_and_end_with_the_session() -> None:
    world = World.make(FakeModel([answer("done")]))
    async with talk(world) as bootstrap:
        loop, execution = bootstrap.loop, bootstrap.execution
        assert await loop.call_tool(execution.id, 1, call("fs.list", path="/workspace")) == ToolResult(
            "the directory is empty"
        )
        assert (await loop.call_tool(execution.id, 1, RUN)).failed, "a command is not for who is there already"
        assert "cmd.run" not in [spec.name for spec in loop.agent_tools(execution.id, 1)]

        async def never(*_: Any) -> None:
            await asyncio.Event().wait()

        world.store.append_events = never  # type: ignore[method-assign]
        read = call("fs.read", path="a")
        waiting = [asyncio.create_task(loop.call_tool(execution.id, 1, read)) for _ in range(AT_ONCE_MAX)]
        await settle()
        with pytest.raises(Overloaded):
            await loop.call_tool(execution.id, 1, read)
        waiting[0].cancel()
        await settle()
        with pytest.raises(Overloaded):  # it goes on without its caller
            await loop.call_tool(execution.id, 1, read)
        del world.store.append_events
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError, *[Conflict] * (AT_ONCE_MAX - 1)]
    with pytest.raises(Conflict, match="has no iteration under way"):
        await loop.call_tool(execution.id, 1, read)


def test_a_conversation_is_the_same_after_json_at_every_point() -> None:
    conversation = Conversation(())
    for step in (
        conversation,
        conversation.with_answer("x", (RUN, replace(RUN, id="2", arguments_error="bad"))),
        conversation.with_answer("x", (RUN,)).with_result(RUN.id, "y"),
        conversation.with_answer("end", ()),
    ):
        assert Conversation.from_json(step.to_json()) == step


@pytest.mark.parametrize(
    ("finish", "says", "code"),
    [
        (Finish.REFUSAL, "model default or its provider's filter refused to answer: No.", "model_refused"),
        (Finish.LENGTH, r"cut at its limit of tokens \(models.default.max_tokens\)", "model_answer_cut"),
    ],
)
async def test_an_answer_that_is_none_fails_the_iteration_and_is_never_its_final_response(
    finish: Finish, says: str, code: str
) -> None:
    world = World.make(FakeModel([replace(answer("No."), finish=finish)]))
    async with talk(world) as bootstrap:
        with pytest.raises(Conflict):
            await bootstrap.generate()
        with pytest.raises(IterationFailed, match=says) as raised:
            await bootstrap.final()
        assert raised.value.code == code
        assert bootstrap.session.conversation.final is None
        [event] = [
            each for each in await world.store.list_events(bootstrap.execution.id) if each.kind == "model.called"
        ]
        assert event.data["finish"] == finish.value


async def test_a_conversation_too_long_for_the_model_is_the_iterations_and_the_next_begins_anew() -> None:
    too_long = ModelContextTooLong("the conversation is too long for its context", reason="context_too_long")
    world = World.make(FakeModel([answer("", RUN), too_long], [answer("done")]))
    execution = await world.run(world.agent(plan=ExecutionPlan(max_iterations=2)))
    assert execution.output == "done"
    first, second = await world.store.list_iterations(execution.id)
    assert (first.error_code, second.state) == ("model_context_too_long", IterationState.SUCCESS)
    _, messages, _ = world.model.asked[-1]
    assert [message.role for message in messages] == ["system", "user"]
    assert "too long for its context" in messages[1].content


async def test_calls_of_an_answer_that_was_cut_are_told_to_the_model() -> None:
    cut = replace(answer("", replace(call("fs.read"), arguments_error="it was cut")), finish=Finish.LENGTH)
    world = World.make(FakeModel([cut, answer("done")]))
    async with talk(world) as bootstrap:
        assert "cannot be read: it was cut" in (await bootstrap.generate())["conversation"][-2]["content"]


def output(dispatch_id: str, sequence: int, stdout: str = "", skipped: int = 0) -> dict[str, Any]:
    return {
        "dispatch_id": dispatch_id,
        "sequence": sequence,
        "stdout": stdout,
        "stderr": "",
        "skipped_bytes": skipped,
    }


async def told(world: World, execution: Execution) -> list[str]:
    events = await world.store.list_events(execution.id)
    return [event.data["stdout"] for event in events if event.kind == "dispatch.output"]


async def test_output_is_told_while_its_dispatch_is_pending_and_once() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        dispatch = (await bootstrap.generate())["dispatch_id"]
        tell = bootstrap.loop.dispatch_output
        for sequence, text in ((0, "a"), (1, "b\0"), (1, "b again"), (0, "a again"), (2, "c")):
            assert await tell(bootstrap.execution.id, output(dispatch, sequence, text)) == {"type": "noted"}
        with pytest.raises(Conflict, match="not under way"):
            await tell(bootstrap.execution.id, output("another", 9, "x"))
        await bootstrap.report(dispatch)
        with pytest.raises(Conflict, match="not under way"):
            await tell(bootstrap.execution.id, output(dispatch, 3, "late"))
        assert await told(world, bootstrap.execution) == ["a", "b\ufffd", "c"]


async def test_a_dispatch_tells_no_more_than_its_bound_and_the_next_one_tells_again() -> None:
    world = World.make(FakeModel([answer("", RUN), answer("", RUN), answer("done")]))
    async with talk(world) as bootstrap:
        first = (await bootstrap.generate())["dispatch_id"]
        piece, tell = "x" * 8192, bootstrap.loop.dispatch_output
        with pytest.raises(Conflict, match="told enough"):
            for sequence in range(OUTPUT_CHARACTERS_MAX):
                await tell(bootstrap.execution.id, output(first, sequence, piece))
        assert len(await told(world, bootstrap.execution)) == OUTPUT_CHARACTERS_MAX // len(piece)
        second = (await bootstrap.report(first))["dispatch_id"]
        assert await tell(bootstrap.execution.id, output(second, 0, "again")) == {"type": "noted"}
