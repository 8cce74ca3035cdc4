"""The life of a container against a real Docker Engine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from aegis.adapters.docker import DockerEngine
from aegis.adapters.docker.logs import PIECE_BYTES_MAX
from aegis.errors import ContainerFailed, ImageNotFound, MountFailed, NotFound
from aegis.ports import ContainerExit, ContainerSpec
from tests.aegis.adapters.docker.conftest import Connect
from tests.support.host_docker import HostDocker
from tests.support.specs import container_spec, nfs_mount


async def run(engine: DockerEngine, spec: ContainerSpec) -> tuple[ContainerExit, str, str]:
    container_id = await engine.create(spec)
    await engine.start(container_id)
    end = await engine.wait(container_id)
    streams = {"stdout": b"", "stderr": b""}
    async for name, piece in engine.logs(container_id):
        streams[name] += piece
    await engine.remove_container(container_id)
    return end, streams["stdout"].decode(), streams["stderr"].decode()


async def test_exit_code_and_both_streams_come_back_apart(engine: DockerEngine) -> None:
    end, out, err = await run(engine, container_spec(command=("/bin/sh", "-c", "echo out; echo err >&2; exit 3")))
    assert (end, out, err) == (ContainerExit(3), "out\n", "err\n")


async def test_container_runs_as_its_user_without_capabilities_and_with_init(engine: DockerEngine) -> None:
    script = "id -u; id -g; cat /proc/1/comm; cat /proc/self/status"
    _, out, _ = await run(engine, container_spec(command=("/bin/sh", "-c", script), uid=1234, gid=567))
    uid, gid, init, *status = out.splitlines()
    assert (uid, gid) == ("1234", "567")
    assert init in ("docker-init", "tini")
    assert "NoNewPrivs:\t1" in status
    assert "CapBnd:\t0000000000000000" in status


async def test_limits_and_labels_reach_the_engine(engine: DockerEngine, docker_host: HostDocker) -> None:
    spec = container_spec(cpu_quota=0.5, memory_bytes=32 * 1024 * 1024, pids_limit=17)
    container_id = await engine.create(spec)
    found = docker_host.api("GET", f"/containers/{container_id}/json")
    host = found["HostConfig"]
    assert found["Name"] == f"/{spec.name}"
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (
        500_000_000,
        32 * 1024 * 1024,
        32 * 1024 * 1024,
        17,
    )
    assert found["Config"]["Labels"] == {
        **spec.labels,
        "aegis.managed": "true",
        "aegis.container_kind": "agent",
    }


async def test_exceeding_memory_is_told_with_what_docker_knows(engine: DockerEngine) -> None:
    """Docker loses the kernel's word now and then; then the killed container comes with a hint instead."""
    spec = container_spec(command=("dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"), memory_bytes=8 << 20)
    end, _, _ = await run(engine, spec)
    assert end.exit_code == 137
    assert end.out_of_memory or "for its memory" in end.error


BOOTSTRAP = {"/aegis/bootstrap.sh": b"#!/bin/sh\necho from the file; echo x > /aegis/bootstrap.sh\n"}


async def test_what_has_become_of_a_container_is_told_with_its_start_and_its_volumes(engine: DockerEngine) -> None:
    spec = container_spec(command=("sleep", "1000"), files=BOOTSTRAP)
    container_id = await engine.create(spec)
    made = await engine.state(container_id)
    assert (made.running, made.started_at, len(made.volumes)) == (False, None, 1)
    await engine.start(container_id)
    runs = await engine.state(container_id)
    assert runs.running and runs.started_at is not None
    assert abs((datetime.now(UTC) - runs.started_at).total_seconds()) < 3600
    await engine.kill(container_id)
    await engine.wait(container_id)
    ended = await engine.state(container_id)
    assert (ended.running, ended.started_at) == (False, runs.started_at)
    await engine.remove_container(container_id)
    with pytest.raises(NotFound):
        await engine.state(container_id)


async def test_files_are_there_at_the_start_and_the_agent_cannot_change_them(engine: DockerEngine) -> None:
    end, out, err = await run(engine, container_spec(command=("/aegis/bootstrap.sh",), files=BOOTSTRAP, uid=0))
    assert out == "from the file\n"
    assert "Read-only file system" in err
    assert end.exit_code == 1


async def test_different_files_do_not_mix(engine: DockerEngine) -> None:
    show = ("/bin/sh", "-c", "cat /aegis/*")
    files = [{"/aegis/a": b"one"}, {"/aegis/a": b"two"}, {"/aegis/b": b"three"}]
    specs = [container_spec(command=show, files=each) for each in files]
    outs = [out for _, out, _ in await asyncio.gather(*(run(engine, spec) for spec in specs))]
    assert outs == ["one", "two", "three"]


async def test_files_come_back_after_somebody_pruned_the_volumes(engine: DockerEngine, docker_host: HostDocker) -> None:
    spec = container_spec(command=("/aegis/bootstrap.sh",), files=BOOTSTRAP)
    await run(engine, spec)
    [volume] = docker_host.api("GET", "/volumes")["Volumes"]
    docker_host.api("DELETE", f"/volumes/{volume['Name']}")
    _, out, _ = await run(engine, spec)
    assert out == "from the file\n"


async def test_files_leave_nothing_behind_and_are_nobodys_leftover(
    connect: Connect, engine: DockerEngine, docker_host: HostDocker
) -> None:
    other = connect(docker_host.socket_path, labels={"aegis.node_id": "n-1"})
    await run(other, container_spec(files=BOOTSTRAP))
    assert await other.list_managed() == []
    [left_by_a_crash] = await engine.list_managed()
    assert left_by_a_crash.what == "volume"
    assert left_by_a_crash.labels["aegis.node_id"] == "n-1"
    await other.close()
    assert await engine.list_managed() == []


async def test_command_is_the_whole_argument_vector_whatever_the_image_entrypoint(
    engine: DockerEngine, docker_host: HostDocker
) -> None:
    made = docker_host.api("POST", "/containers/create", {"Image": "aegis-test/busybox:1", "Cmd": ["/bin/true"]})
    docker_host.api(
        "POST", f"/commit?container={made['Id']}&repo=aegis-test/entry&tag=1", {"Entrypoint": ["/bin/echo", "entry"]}
    )
    docker_host.api("DELETE", f"/containers/{made['Id']}")
    _, out, _ = await run(engine, container_spec(image="aegis-test/entry:1", command=("/bin/echo", "mine")))
    assert out == "mine\n"


async def test_create_with_the_same_name_and_labels_gives_the_same_container(engine: DockerEngine) -> None:
    spec = container_spec()
    assert await engine.create(spec) == await engine.create(spec)


async def test_a_name_that_is_somebody_elses_is_refused_with_the_way_out(engine: DockerEngine) -> None:
    spec = container_spec()
    await engine.create(spec)
    other = container_spec(name=spec.name, labels={"aegis.execution_id": "another"})
    with pytest.raises(ContainerFailed, match=f"docker rm -f {spec.name}"):
        await engine.create(other)


async def test_a_missing_command_is_named(engine: DockerEngine) -> None:
    end, _, _ = await run(engine, container_spec(command=("python3", "/aegis/bootstrap.py")))
    assert end == ContainerExit(127, error="the image has no command 'python3': use an image that contains it")


async def test_a_command_that_exits_with_127_itself_is_not_called_missing(engine: DockerEngine) -> None:
    end, _, _ = await run(engine, container_spec(command=("/bin/sh", "-c", "echo no such file >&2; exit 127")))
    assert end == ContainerExit(127)


async def test_a_missing_image_is_named(engine: DockerEngine) -> None:
    with pytest.raises(ImageNotFound, match="no image aegis-test/none:9"):
        await engine.create(container_spec(image="aegis-test/none:9"))


async def test_too_many_cpus_name_the_manifest_key(engine: DockerEngine) -> None:
    with pytest.raises(ContainerFailed, match=r"spec\.resources\.cpu_quota"):
        await engine.create(container_spec(cpu_quota=1000))


async def test_an_nfs_volume_that_cannot_be_mounted_stops_the_start(engine: DockerEngine) -> None:
    mount = nfs_mount()
    spec = container_spec(mounts=(mount,))
    await engine.create_volume(mount, spec.labels)
    container_id = await engine.create(spec)
    with pytest.raises(MountFailed) as caught:
        await engine.start(container_id)
    message = str(caught.value)
    assert mount.volume_name in message
    assert ":/tenant/volume" in message
    assert "addr=127.0.0.1" in message
    assert caught.value.next_step


async def test_kill_ends_the_wait_and_may_be_repeated(engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(command=("sleep", "1000")))
    await engine.start(container_id)
    waiting = asyncio.create_task(engine.wait(container_id))
    await engine.kill(container_id)
    assert (await waiting).exit_code == 137
    await engine.kill(container_id)
    await engine.remove_container(container_id)
    await engine.kill(container_id)


async def test_start_twice_is_one_start(engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(command=("sleep", "1000")))
    await engine.start(container_id)
    await engine.start(container_id)


async def test_remove_kills_and_may_race_itself(engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(command=("sleep", "1000")))
    await engine.start(container_id)
    await asyncio.gather(*(engine.remove_container(container_id) for _ in range(4)))
    assert await engine.list_managed() == []


async def test_waiting_for_what_never_ran_is_an_error_and_not_success(engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec())
    with pytest.raises(ContainerFailed, match="has not run"):
        await engine.wait(container_id)


async def test_waiting_for_what_is_gone_is_not_found(engine: DockerEngine) -> None:
    with pytest.raises(NotFound):
        await engine.wait("no-such-container")
    with pytest.raises(NotFound):
        await engine.start("no-such-container")
    with pytest.raises(NotFound):
        async for _ in engine.logs("no-such-container"):
            pass


async def test_list_managed_tells_running_containers_and_leaves_out_strangers(
    engine: DockerEngine, docker_host: HostDocker
) -> None:
    stranger = docker_host.api("POST", "/containers/create", {"Image": "aegis-test/busybox:1", "Cmd": ["/bin/true"]})
    running = await engine.create(container_spec(command=("sleep", "1000")))
    await engine.start(running)
    created = await engine.create(container_spec())
    found = {item.id: item.running for item in await engine.list_managed()}
    docker_host.api("DELETE", f"/containers/{stranger['Id']}")
    assert found == {running: True, created: False}


async def test_a_log_is_followed_while_the_container_runs(engine: DockerEngine) -> None:
    container_id = await engine.create(container_spec(command=("/bin/sh", "-c", "echo first; exec sleep 1000")))
    await engine.start(container_id)
    log = engine.logs(container_id)
    assert await anext(log) == ("stdout", b"first\n")
    await engine.kill(container_id)
    assert [piece async for piece in log] == []


@pytest.mark.parametrize("signal_name", ["TERM", "KILL"])
async def test_wait_survives_a_real_restart_of_the_engine(
    engine: DockerEngine, docker_host: HostDocker, signal_name: str
) -> None:
    """Without live-restore a restart ends the containers; the wait must tell so instead of failing or hanging."""
    container_id = await engine.create(container_spec(command=("sleep", "1000")))
    await engine.start(container_id)
    waiting = asyncio.create_task(engine.wait(container_id))
    await asyncio.to_thread(docker_host.stop_dockerd, signal_name)
    await asyncio.to_thread(docker_host.start_dockerd)
    assert (await waiting).exit_code != 0


async def test_a_large_log_comes_whole_and_in_bounded_pieces(engine: DockerEngine) -> None:
    zeros = ("dd", "if=/dev/zero", "bs=400000", "count=1")
    container_id = await engine.create(container_spec(command=zeros))
    await engine.start(container_id)
    pieces = [len(piece) async for name, piece in engine.logs(container_id) if name == "stdout"]
    assert sum(pieces) == 400_000
    assert max(pieces) <= PIECE_BYTES_MAX
