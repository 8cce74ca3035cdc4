from __future__ import annotations

from pathlib import Path

import pytest

from aegis.adapters.llm.script import ScriptModel
from aegis.errors import ModelFailed, Refused
from aegis.ports import Message, ModelContext

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


@pytest.mark.parametrize(("error", "retryable"), [("rate_limit", True), ("refused", False)])
async def test_failures_can_be_scripted(path: Path, error: str, retryable: bool) -> None:
    write(path, f"iterations: [{{turns: [{{error: {error}}}]}}]")
    with pytest.raises(ModelFailed, match="as scripted") as raised:
        await ScriptModel("default", str(path)).complete(ASK, [], context(1))
    assert raised.value.retryable is retryable


async def test_a_changed_script_is_read_again(path: Path) -> None:
    model = ScriptModel("default", str(path))
    write(path, "iterations: [{turns: [{content: changed}]}]")
    assert (await model.complete(ASK, [], context(1))).content == "changed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("iterations: [{turns: []}]", "iterations.0.turns"),
        ("iterations: [{turn: []}]", "iterations.0.turn: Extra"),
        ("[", "no YAML"),
        ("", "valid dictionary"),
        ("iterations: [{turns: [{tool_calls: [{arguments: {}}]}]}]", "name: Field required"),
    ],
)
def test_a_wrong_script_is_refused_with_the_place(path: Path, text: str, says: str) -> None:
    write(path, text)
    with pytest.raises(Refused, match=says):
        ScriptModel("default", str(path))


def test_a_missing_script_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"models\.default\.script"):
        ScriptModel("default", str(tmp_path / "none.yaml"))
