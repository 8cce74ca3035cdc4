from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aegis.adapters.llm.script import ScriptModel
from aegis.errors import ModelContextTooLong, ModelFailed, Refused
from aegis.ports import Finish, Message, ModelContext, ModelReply

SCRIPT = """
iterations:
  - turns:
      - content: writing
        tool_calls:
          - {name: fs.write, arguments: {path: /workspace/main.py, content: "print(41)"}}
          - {name: cmd.run, arguments: {command: python3, args: [main.py]}}
      - content: done
  - turns:
      - {content: better}
"""
ASK = [Message("system", "s"), Message("user", "u")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "script.yaml"
    write(path, SCRIPT)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


def context(iteration: int, agent: str = "hello") -> ModelContext:
    return ModelContext("e", agent, iteration)


async def test_the_turn_is_chosen_by_the_conversation_alone(path: Path) -> None:
    first = await ScriptModel("default", str(path)).complete(ASK, [], context(1))
    assert [call.name for call in first.tool_calls] == ["fs.write", "cmd.run"]
    assert len({call.id for call in first.tool_calls}) == 2
    conversation = [*ASK, Message("assistant", "writing", first.tool_calls), Message("tool", "ok", tool_call_id="x")]
    restarted = ScriptModel("default", str(path))
    assert (await restarted.complete(conversation, [], context(1))).content == "done"
    assert await restarted.complete(ASK, [], context(1)) == first


async def test_what_is_beyond_the_script_ends_the_iteration(path: Path) -> None:
    model = ScriptModel("default", str(path))
    assert (await model.complete(ASK, [], context(7))).content == "better"
    long = [*ASK, *[Message("assistant", "x")] * 9]
    reply = await model.complete(long, [], context(1))
    assert (reply.content, reply.tool_calls) == ("done", ())


async def test_agents_have_their_own_and_a_star_for_the_rest(path: Path) -> None:
    own = "agents: {hello: {iterations: [{turns: [{content: mine}]}]}, '*': {iterations: [{turns: [{content: rest}]}]}}"
    write(path, own)
    model = ScriptModel("default", str(path))
    assert (await model.complete(ASK, [], context(1))).content == "mine"
    assert (await model.complete(ASK, [], context(1, "other"))).content == "rest"


async def test_an_agent_without_a_script_is_told_which_there_are(path: Path) -> None:
    write(path, "agents: {hello: {iterations: [{turns: [{content: mine}]}]}}")
    with pytest.raises(ModelFailed, match=r"nothing for agent other.*hello"):
        await ScriptModel("default", str(path)).complete(ASK, [], context(1, "other"))


@pytest.mark.parametrize(
    ("error", "retryable", "reason"),
    [
        ("rate_limit", True, "rate_limited"),
        ("server_error", True, "overloaded"),
        ("timeout", True, "timeout"),
        ("refused", False, "rejected"),
        ("credentials", False, "credentials"),
        ("context_too_long", False, "context_too_long"),
    ],
)
async def test_failures_can_be_scripted(path: Path, error: str, retryable: bool, reason: str) -> None:
    write(path, f"iterations: [{{turns: [{{error: {error}, retry_after_seconds: 3}}]}}]")
    with pytest.raises(ModelFailed, match="as scripted") as raised:
        await ScriptModel("default", str(path)).complete(ASK, [], context(1))
    assert (raised.value.retryable, raised.value.reason) == (retryable, reason)
    assert isinstance(raised.value, ModelContextTooLong) is (error == "context_too_long")


async def test_the_first_attempts_can_fail_and_a_later_one_succeed(path: Path) -> None:
    failures = "[{error: rate_limit, retry_after_seconds: 3}, {error: stream_cut}]"
    write(path, f"iterations: [{{turns: [{{content: at last, failures: {failures}}}]}}]")
    model = ScriptModel("default", str(path))
    for attempt, reason in ((1, "rate_limited"), (2, "stream_cut")):
        with pytest.raises(ModelFailed) as raised:
            await model.complete(ASK, [], replace(context(1), attempt=attempt))
        assert raised.value.reason == reason
    assert (await model.complete(ASK, [], replace(context(1), attempt=3))).content == "at last"


async def test_a_delay_longer_than_the_alias_waits_is_a_timeout(path: Path) -> None:
    write(path, "iterations: [{turns: [{content: late, delay_seconds: 60}]}]")
    with pytest.raises(ModelFailed, match=r"not answered completely within 0\.01 s"):
        await ScriptModel("default", str(path), timeout_seconds=0.01).complete(ASK, [], context(1))


async def test_arguments_are_read_as_a_model_wrote_them(path: Path) -> None:
    calls = """[{name: a, arguments_text: '{"path": '}, {name: b, arguments_text: '{"path": "x"}'}]"""
    write(path, f"iterations: [{{turns: [{{tool_calls: {calls}}}]}}]")
    broken, whole = (await ScriptModel("default", str(path)).complete(ASK, [], context(1))).tool_calls
    assert "no JSON" in broken.arguments_error
    assert (whole.arguments, whole.arguments_error) == ({"path": "x"}, "")


async def test_how_it_ended_and_what_it_used_can_be_scripted(path: Path) -> None:
    turn = "{content: No., finish: refusal, usage: {input_tokens: 1000, output_tokens: 5}, tool_calls: [{name: a}]}"
    write(path, f"iterations: [{{turns: [{turn}]}}]")
    reply = await ScriptModel("default", str(path)).complete(ASK, [], context(1))
    assert reply == ModelReply("No.", (), 1000, 5, Finish.REFUSAL)


async def test_answers_with_a_condition_come_first_and_the_first_that_holds_counts(path: Path) -> None:
    answers = """
answers:
  - {when: {agent: "judge-*", contains: "print(41)"}, content: wrong}
  - {when: {agent: "judge-*"}, content: right}
  - {when: {iteration: 2, turn: 2}, content: second of the second}
"""
    write(path, answers + SCRIPT)
    model = ScriptModel("default", str(path))

    async def said(agent: str, iteration: int, *messages: Message) -> str:
        return (await model.complete([*ASK, *messages], [], context(iteration, agent))).content

    assert await said("judge-a", 1, Message("user", "It is print(41), look")) == "wrong"
    assert await said("judge-a", 1, Message("user", "It is print(42), look")) == "right"
    assert await said("hello", 2) == "better"
    assert await said("hello", 2, Message("assistant", "better"), Message("user", "?")) == "second of the second"


async def test_a_changed_script_is_read_again(path: Path) -> None:
    model = ScriptModel("default", str(path))
    write(path, "iterations: [{turns: [{content: changed}]}]")
    assert (await model.complete(ASK, [], context(1))).content == "changed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("iterations: [{turns: []}]", r"line 1: iterations\.0\.turns"),
        ("iterations:\n  - turn: []", r"line 2: iterations\.0\.turn: Extra"),
        (
            "iterations:\n  - turns:\n      - content: x\n        error: tired",
            r"line 4: iterations\.0\.turns\.0\.error",
        ),
        (
            "iterations:\n  - turns:\n      - tool_calls:\n          - {arguments: {}}",
            r"line 4: .*name: Field required",
        ),
        ("[", "no YAML"),
        ("", "valid dictionary"),
    ],
)
def test_a_wrong_script_is_refused_with_the_place(path: Path, text: str, says: str) -> None:
    write(path, text)
    with pytest.raises(Refused, match=says):
        ScriptModel("default", str(path))


def test_a_missing_script_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"models\.default\.script"):
        ScriptModel("default", str(tmp_path / "none.yaml"))
