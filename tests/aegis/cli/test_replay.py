"""`aegis task export` and `replay`: a record is written, and replayed where there is no daemon."""

from __future__ import annotations

import json
from pathlib import Path

from aegis.domain.manifest import ExecutionPlan
from tests.aegis.cli.conftest import Run
from tests.aegis.replay.test_replay import CHECK, RIGHT, WRONG, record_of
from tests.support import world as services
from tests.support.fakes_model import FakeModel
from tests.support.small_world import World

NOWHERE = {"AEGIS_API_URL": "http://127.0.0.1:9"}


async def written(directory: Path) -> tuple[Path, dict[str, object]]:
    world = services.World.make(FakeModel(WRONG, RIGHT))
    execution = await world.run(world.agent(plan=ExecutionPlan(max_iterations=3, validators=(CHECK,))))
    record = await record_of(world, execution)
    path = directory / "execution.json"
    path.write_text(json.dumps(record))
    return path, record


async def test_a_file_is_replayed_without_a_daemon_and_the_exit_code_tells(run: Run, tmp_path: Path) -> None:
    path, record = await written(tmp_path)
    ended = await run("task", "replay", "--file", str(path), **NOWHERE)
    assert (ended.code, ended.out) == (0, "replay: 18 decisions, all the same\n"), ended.err
    ended = await run("task", "replay", "--file", "-", "-o", "json", stdin=path.read_bytes(), **NOWHERE)
    assert json.loads(ended.out) == {"decisions": 18, "same": True}

    manifest = record["manifest"]
    assert isinstance(manifest, dict)
    manifest["tools"] = ["cmd.run"]
    path.write_text(json.dumps(record))
    ended = await run("task", "replay", "--file", str(path), **NOWHERE)
    assert ended.code == 1
    assert "then a difference at iteration 1, tool.denied" in ended.out
    recorded, replayed = ended.out.split("--- recorded\n")[1].split("--- replayed\n")
    assert json.loads(recorded)["kind"] == "tool.allowed"
    assert json.loads(replayed)["reason"] == "the tool fs.write is not allowed here (allowed: cmd.run)"
    ended = await run("task", "replay", "--file", str(path), "-o", "json", **NOWHERE)
    assert ended.code == 1 and json.loads(ended.out)["difference"]["where"] == "iteration 1, tool.denied"


async def test_what_cannot_be_replayed_is_told_by_the_exit_code_as_everywhere(run: Run, tmp_path: Path) -> None:
    assert (await run("task", "replay")).code == 2
    assert (await run("task", "replay", "abcdefgh", "--file", "x")).code == 2
    (tmp_path / "broken.json").write_text("{")
    ended = await run("task", "replay", "--file", "broken.json")
    assert ended.code == 2 and "broken.json is no JSON" in ended.err
    (tmp_path / "other.json").write_text("{}")
    ended = await run("task", "replay", "--file", "other.json")
    assert ended.code == 4 and "is no record of an execution" in ended.err
    assert (await run("task", "replay", "ffffffff")).code == 3


async def test_an_export_is_the_record_with_its_events(run: Run, world: World) -> None:
    world.supervisor.finish_at_once = True
    execution = await world.running_execution()
    ended = await run("task", "export", execution.id[:8])
    assert ended.code == 0, ended.err
    record = json.loads(ended.out)
    assert record["format"] == "aegis.record/1"
    assert record["execution"]["id"] == execution.id
    assert record["events"][-1]["kind"] == "execution.completed"
    ended = await run("task", "replay", execution.id)
    assert ended.code == 4 and "does not say what its node decided by" in ended.err
