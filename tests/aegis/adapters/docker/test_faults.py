"""The engine's bad days: lost replies, restarts, silence, removal that takes its time (see fake_engine.py)."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from aegis.adapters.docker import DockerEngine
from aegis.adapters.docker.connection import Connection, ReplyLost
from aegis.errors import ContainerFailed, DockerUnavailable, MountFailed, Refused
from aegis.ports import ContainerExit
from tests.aegis.adapters.docker.conftest import Connect
from tests.support.fake_engine import FakeEngine
from tests.support.specs import container_spec, nfs_mount

LABELS = {"aegis.tenant_id": "default"}


@pytest.fixture
async def engine(fake: FakeEngine, connect: Connect) -> DockerEngine:
    return connect(f"unix://{fake.socket_path}", restart_seconds=10.0)


# ---- lost replies ----


async def test_a_lost_reply_to_create_makes_no_second_container(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.lose_replies["POST create"] = 1
    container_id = await engine.create(container_spec(image="busybox"))
    assert list(fake.containers) == [container_id]


async def test_a_lost_reply_to_start_never_runs_the_agent_twice(fake: FakeEngine, engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(image="busybox", command=("/bin/true",)))
    fake.lose_replies["POST start"] = 1
    await engine.start(container_id)
    assert fake.starts[container_id] == 1
    assert await engine.wait(container_id) == ContainerExit(0)


async def test_lost_replies_to_everything_else_change_nothing(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.lose_replies.update({"POST kill": 1, "DELETE containers": 1, "DELETE volumes": 1, "DELETE networks": 1})
    mount = nfs_mount()
    container_id = await engine.create(container_spec(image="busybox", command=("sleep", "1000")))
    await engine.start(container_id)
    fake.lose_replies["POST create"] = 1
    await engine.create_volume(mount, LABELS)
    fake.lose_replies["POST create"] = 1
    await engine.ensure_network("aegis-net", internal=True, labels=LABELS)
    assert len(fake.networks) == 1
    await engine.kill(container_id)
    await engine.remove_container(container_id)
    await engine.remove_volume(mount.volume_name)
    await engine.remove_network("aegis-net")
    assert (fake.containers, fake.volumes, fake.networks) == ({}, {}, {})


async def test_a_reply_lost_again_and_again_is_reported_after_a_few_tries(
    fake: FakeEngine, engine: DockerEngine
) -> None:
    container_id = await engine.create(container_spec(image="busybox"))
    fake.lose_replies["POST kill"] = 100
    with pytest.raises(ReplyLost, match=f"kill container {container_id[:12]}"):
        await engine.kill(container_id)
    assert fake.requests["POST kill"] <= 4  # aiohttp may try a reused connection once more by itself


# ---- restarts and silence ----


async def test_wait_goes_on_over_a_restart_of_the_engine(fake: FakeEngine, engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(image="busybox", command=("sleep", "1000")))
    await engine.start(container_id)
    waiting = asyncio.create_task(engine.wait(container_id))
    await fake.until(lambda: fake.requests["POST wait"] > 0)
    await fake.stop()
    fake.finish(container_id, 137, out_of_memory=True)
    await fake.start()
    assert await waiting == ContainerExit(137, out_of_memory=True)


async def test_wait_gives_up_on_an_engine_that_stays_away(fake: FakeEngine, connect: Connect) -> None:
    engine = connect(fake.socket_path, restart_seconds=0.1)
    container_id = await engine.create(container_spec(image="busybox", command=("sleep", "1000")))
    await engine.start(container_id)
    await fake.stop()
    with pytest.raises(DockerUnavailable, match="There is no socket"):
        await engine.wait(container_id)


async def test_an_engine_that_says_nothing_is_given_up_on(fake: FakeEngine, connect: Connect) -> None:
    engine = connect(fake.socket_path, call_seconds=0.1)
    fake.hang.add("GET info")
    with pytest.raises(DockerUnavailable, match=r"did not answer within 0\.1 s when asked to describe itself"):
        await engine.info()


async def test_waiting_for_many_containers_leaves_room_for_calls(fake: FakeEngine, connect: Connect) -> None:
    """More waits than there are connections for calls: they have connections of their own."""
    connection_calls = Connection(str(fake.socket_path))._limits["calls"]
    engine = connect(fake.socket_path)
    ids = [
        await engine.create(container_spec(image="busybox", command=("sleep", "1")))
        for _ in range(connection_calls + 1)
    ]
    for container_id in ids:
        await engine.start(container_id)
    waiting = [asyncio.create_task(engine.wait(container_id)) for container_id in ids]
    await fake.until(lambda: fake.requests["POST wait"] == len(ids))
    for container_id in ids:
        await engine.kill(container_id)
    assert {end.exit_code for end in await asyncio.gather(*waiting)} == {137}


# ---- the socket ----


async def test_an_absent_socket_is_named_with_the_command_that_helps(tmp_path: Path, connect: Connect) -> None:
    engine = connect(tmp_path / "docker.sock")
    with pytest.raises(DockerUnavailable) as caught:
        await engine.info()
    assert f"There is no socket at {tmp_path}/docker.sock: is Docker running?" in str(caught.value)
    assert "systemctl start docker" in caught.value.next_step


async def test_a_socket_nobody_listens_on_is_said_so(fake: FakeEngine, engine: DockerEngine, connect: Connect) -> None:
    left = fake.socket_path.with_name("left.sock")
    os.link(fake.socket_path, left)
    await fake.stop()
    engine = connect(left)
    with pytest.raises(DockerUnavailable, match="Nothing listens on"):
        await engine.info()


async def test_a_socket_of_another_group_names_the_group_to_join(fake: FakeEngine, connect: Connect) -> None:
    os.chmod(fake.socket_path, stat.S_IRUSR)
    engine = connect(fake.socket_path)
    effective = os.geteuid()
    if effective == 0:
        os.seteuid(65534)  # root may connect to anything
    try:
        with pytest.raises(DockerUnavailable, match="sudo usermod -aG docker") as caught:
            await engine.info()
    finally:
        os.seteuid(effective)
    assert str(fake.socket_path) in caught.value.message


async def test_a_user_without_a_name_is_told_by_number(
    fake: FakeEngine, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    os.chmod(fake.socket_path, stat.S_IRUSR)
    engine = connect(fake.socket_path)
    effective = os.geteuid()
    user = effective or 65534
    os.seteuid(user)
    try:
        with pytest.raises(DockerUnavailable, match=rf"^User {os.getuid()} may not") as caught:
            await engine.info()
    finally:
        os.seteuid(effective)
    assert "$USER" not in caught.value.message


async def test_a_web_server_is_told_from_an_engine(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.not_docker = True
    with pytest.raises(DockerUnavailable, match="is not a Docker Engine"):
        await engine.info()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match=r"runtime\.docker_socket_path"):
        DockerEngine("docker.sock")


async def test_rootless_and_userns_remap_are_reported(engine: DockerEngine) -> None:
    info = await engine.info()
    assert (info.rootless, info.userns_remap) == (True, True)


# ---- logs ----


async def test_the_end_of_a_log_that_following_loses_is_given_out(fake: FakeEngine, engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(image="busybox"))
    fake.log_frames = [(1, b"one\n"), (2, b"two\n"), (1, b"three\n")]
    for fake.log_frames_followed in range(4):
        streams = {"stdout": b"", "stderr": b""}
        async for name, piece in engine.logs(container_id):
            streams[name] += piece
        assert streams == {"stdout": b"one\nthree\n", "stderr": b"two\n"}


async def test_a_log_of_a_container_removed_meanwhile_just_ends(fake: FakeEngine, engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(image="busybox"))
    fake.log_frames = [(1, b"one\n")]
    log = engine.logs(container_id)
    assert await anext(log) == ("stdout", b"one\n")
    await engine.remove_container(container_id)
    assert [piece async for piece in log] == []


@pytest.mark.parametrize(("number", "words"), [(9, "unknown stream 9"), (0, "unknown stream 0")])
async def test_a_log_in_another_format_is_said_so(
    fake: FakeEngine, engine: DockerEngine, number: int, words: str
) -> None:
    container_id = await engine.create(container_spec(image="busybox"))
    fake.log_frames = [(number, b"x")]
    with pytest.raises(ContainerFailed, match=words):
        async for _ in engine.logs(container_id):
            pass


# ---- what takes its time, and what is not ours ----


async def test_a_removal_in_progress_is_waited_for(fake: FakeEngine, engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(image="busybox"))
    fake.removals_in_progress = 3
    await engine.remove_container(container_id)
    assert fake.containers == {}


async def test_a_removal_that_never_ends_is_reported(fake: FakeEngine, connect: Connect) -> None:
    engine = connect(fake.socket_path, remove_seconds=0.2)
    container_id = await engine.create(container_spec(image="busybox"))
    fake.removals_in_progress = 1_000_000
    with pytest.raises(ContainerFailed, match="could not be removed: removal of container"):
        await engine.remove_container(container_id)


async def test_a_volume_still_in_use_is_tried_again(fake: FakeEngine, engine: DockerEngine) -> None:
    mount = nfs_mount()
    await engine.create_volume(mount, LABELS)
    fake.uses_after_removal = 3
    await engine.remove_volume(mount.volume_name)
    assert fake.volumes == {}


async def test_a_volume_that_keeps_its_old_options_is_not_used(fake: FakeEngine, engine: DockerEngine) -> None:
    mount = nfs_mount()
    await engine.create_volume(mount, LABELS)
    fake.volumes[mount.volume_name]["Options"] = {"device": ":/another/tenant"}
    with pytest.raises(MountFailed, match=r":/another/tenant.*:/tenant/volume"):
        await engine.create_volume(mount, LABELS)


async def test_of_two_networks_of_one_name_the_oldest_stays(fake: FakeEngine, engine: DockerEngine) -> None:
    fake.network_twin = True
    info = await engine.ensure_network("aegis-net", internal=True, labels=LABELS)
    assert [found["IPAM"]["Config"][0]["Subnet"] for found in fake.networks.values()] == [info.subnet]


async def test_a_name_that_contains_ours_is_another_network(fake: FakeEngine, engine: DockerEngine) -> None:
    await engine.ensure_network("aegis-net-2", internal=True, labels=LABELS)
    await engine.ensure_network("aegis-net", internal=True, labels=LABELS)
    await engine.remove_network("aegis-net")
    assert [found["Name"] for found in fake.networks.values()] == ["aegis-net-2"]


async def test_close_may_be_repeated_and_before_any_call(tmp_path: Path) -> None:
    engine = DockerEngine(str(tmp_path / "docker.sock"))
    await engine.close()
    await engine.close()
