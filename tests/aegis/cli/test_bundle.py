"""`aegis bundle` against the API: out of one node, into another, and what is refused on the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aegis.domain.execution import Agent
from aegis.domain.manifest import AgentManifest, ExecutionPlan, Judge, Runtime, SemanticValidator
from aegis.ids import DEFAULT_TENANT, new_id
from tests.aegis.cli.conftest import Run
from tests.support.small_world import World


async def deployed(world: World, name: str, *judges: str, **runtime: str) -> None:
    validators = tuple(SemanticValidator(judge=Judge(agent=judge)) for judge in judges)
    manifest = AgentManifest(
        name=name,
        runtime=Runtime(**(runtime or {"image": "busybox:1"})),
        execution=ExecutionPlan(validators=validators),
    )
    await world.store.add_agent(Agent(new_id(), DEFAULT_TENANT, manifest, world.clock.now()))


@pytest.fixture(autouse=True)
def images(world: World) -> None:
    world.archive.images = {"busybox:1": b"small" * 1000, "python:3.11-slim": b"large" * 9000}


async def test_agents_and_their_images_come_to_a_node_that_has_neither(run: Run, world: World, tmp_path: Path) -> None:
    await deployed(world, "writer", "reader", language="python", version="3.11")
    await deployed(world, "reader")
    await deployed(world, "other")
    saved = await run("bundle", "save", "b.tar", "writer", "--output", "json")
    assert saved.code == 0, saved.err
    assert json.loads(saved.out) == {"file": "b.tar", "bytes": (tmp_path / "b.tar").stat().st_size}
    had = dict(world.archive.images)
    world.archive.images.clear()
    world.store.agents.clear()
    loaded = await run("bundle", "load", "b.tar", "--output", "json")
    assert loaded.code == 0, loaded.err
    view = json.loads(loaded.out)
    assert sorted(agent["name"] for agent in view["agents"]) == ["reader", "writer"]
    assert sorted(image["reference"] for image in view["images"]) == sorted(had)
    assert view["unknown_runtimes"] == []
    assert world.archive.images == had
    assert (await run("agent", "list")).out.count("writer") == 1


async def test_what_is_done_is_said_to_people(run: Run, world: World) -> None:
    await deployed(world, "reader")
    assert (await run("bundle", "save", "b.tar", "reader")).out.startswith("saved b.tar (")
    said = (await run("bundle", "load", "b.tar")).out
    assert "image busybox:1 (sha256:of-busybox:1, amd64)" in said
    assert "deployed reader" in said


async def test_a_damaged_file_is_refused_by_its_part_and_nothing_is_taken(
    run: Run, world: World, tmp_path: Path
) -> None:
    await deployed(world, "reader")
    assert (await run("bundle", "save", "b.tar", "reader", "--image", "python:3.11-slim")).code == 0
    content = bytearray((tmp_path / "b.tar").read_bytes())
    content[content.index(b"736d616c6c") + 3] ^= 1
    (tmp_path / "b.tar").write_bytes(content)
    world.archive.images.clear()
    world.store.agents.clear()
    refused = await run("bundle", "load", "b.tar", "--output", "json")
    assert refused.code == 4
    problem = json.loads(refused.err)
    assert problem["code"] == "bundle_damaged"
    assert "its part images/000000 has another checksum than its content" in problem["detail"]
    assert (world.archive.images, world.store.agents) == ({}, [])


async def test_a_file_that_ends_early_is_refused(run: Run, world: World, tmp_path: Path) -> None:
    await deployed(world, "reader")
    await run("bundle", "save", "b.tar", "reader")
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:-3000])
    world.archive.images.clear()
    refused = await run("bundle", "load", "b.tar")
    assert (refused.code, world.archive.images) == (4, {})
    assert "the file ends early" in refused.err


async def test_what_is_broken_off_leaves_no_file_and_the_old_one_as_it_was(
    run: Run, world: World, tmp_path: Path
) -> None:
    await deployed(world, "reader")
    (tmp_path / "b.tar").write_text("the old one")
    world.archive.images["noise:1"] = bytes(6 << 20)
    world.archive.breaks_off_after = 5 << 20
    broken = await run("bundle", "save", "b.tar", "reader", "--image", "noise:1")
    assert broken.code == 1
    assert "broke off what it was sending" in broken.err
    assert [name for name in os.listdir(tmp_path) if "tar" in name] == ["b.tar"]
    assert (tmp_path / "b.tar").read_text() == "the old one"


async def test_what_is_wrong_before_the_first_byte_is_said_plainly(run: Run, world: World, tmp_path: Path) -> None:
    unknown = await run("bundle", "save", "b.tar", "nobody")
    assert (unknown.code, "nobody" in unknown.err) == (3, True)
    missing = await run("bundle", "save", "b.tar", "--image", "no:1")
    assert (missing.code, "There is no image no:1" in missing.err) == (4, True)
    nothing = await run("bundle", "save", "b.tar")
    assert (nothing.code, "A bundle of nothing" in nothing.err) == (4, True)
    assert not (tmp_path / "b.tar").exists()
    assert (await run("bundle", "load", "b.tar")).code == 2


async def test_a_runtime_that_means_another_image_here_is_noted(run: Run, world: World) -> None:
    await deployed(world, "writer", language="python", version="3.11")
    assert (await run("bundle", "save", "b.tar", "writer")).code == 0
    world.runtimes.clear()
    loaded = await run("bundle", "load", "b.tar")
    assert "python 3.11 was python:3.11-slim where the bundle was made" in loaded.out
