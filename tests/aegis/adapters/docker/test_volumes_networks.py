"""Volumes, networks and the engine's description against a real Docker Engine."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from aegis.adapters.docker import DockerEngine
from aegis.errors import Conflict, ContainerFailed, MountFailed
from tests.aegis.adapters.docker.conftest import Connect
from tests.support.host_docker import HostDocker
from tests.support.specs import container_spec, nfs_mount

LABELS = {"aegis.tenant_id": "default"}


@pytest.fixture
async def hasty(docker_host: HostDocker, connect: Connect) -> AsyncIterator[DockerEngine]:
    """An adapter that soon gives up on what stays in use."""
    engine = connect(docker_host.socket_path, remove_seconds=0.3)
    yield engine


async def test_info_describes_the_engine(engine: DockerEngine) -> None:
    info = await engine.info()
    assert info.version.split(".")[0].isdecimal()
    assert info.api_version >= "1.41"
    assert (info.rootless, info.userns_remap) == (False, False)
    assert info.kernel


async def test_volume_creation_may_be_repeated_and_its_labels_find_it(engine: DockerEngine) -> None:
    mount = nfs_mount()
    await engine.create_volume(mount, LABELS)
    await engine.create_volume(mount, LABELS)
    [found] = await engine.list_managed()
    assert (found.what, found.name) == ("volume", mount.volume_name)
    assert found.labels == {**LABELS, "aegis.managed": "true"}
    await engine.remove_volume(mount.volume_name)
    await engine.remove_volume(mount.volume_name)
    assert await engine.list_managed() == []


async def test_an_existing_volume_with_other_options_is_an_error_that_names_both(engine: DockerEngine) -> None:
    mount = nfs_mount()
    await engine.create_volume(mount, LABELS)
    other = dataclasses.replace(mount, export_path="/tenant/another")
    with pytest.raises(MountFailed) as caught:
        await engine.create_volume(other, LABELS)
    assert ":/tenant/volume" in caught.value.message
    assert ":/tenant/another" in caught.value.message
    assert not caught.value.retryable


async def test_a_volume_in_use_is_removed_as_soon_as_its_container_is_gone(
    engine: DockerEngine, hasty: DockerEngine
) -> None:
    mount = nfs_mount()
    await engine.create_volume(mount, LABELS)
    container_id = await engine.create(container_spec(mounts=(mount,)))
    with pytest.raises(Conflict, match=f"docker ps -a --filter volume={mount.volume_name}"):
        await hasty.remove_volume(mount.volume_name)
    removing = asyncio.create_task(engine.remove_volume(mount.volume_name))
    await engine.remove_container(container_id)
    await removing
    assert await engine.list_managed() == []


async def test_nothing_is_mounted_before_the_start(engine: DockerEngine) -> None:
    """Creating and giving files mount no workspace: there is no NFS here, so a mount would fail."""
    mount = nfs_mount()
    await engine.create_volume(mount, LABELS)
    assert await engine.create(container_spec(mounts=(mount,), files={"/aegis/bootstrap.py": b""}))


async def test_network_takes_the_first_free_subnet_and_tells_the_hosts_address(engine: DockerEngine) -> None:
    first = await engine.ensure_network("aegis-one", internal=True, labels=LABELS, subnets=("10.213.0.0/24",))
    second = await engine.ensure_network(
        "aegis-two", internal=False, labels=LABELS, subnets=("10.213.0.0/25", "10.213.1.0/24")
    )
    assert (first.subnet, first.gateway) == ("10.213.0.0/24", "10.213.0.1")
    assert (second.subnet, second.gateway) == ("10.213.1.0/24", "10.213.1.1")
    with pytest.raises(ContainerFailed, match=r"No free subnet for network aegis-three: wanted was one of 10\.213\.1"):
        await engine.ensure_network("aegis-three", internal=True, labels=LABELS, subnets=("10.213.1.0/28",))


async def test_network_without_subnets_gets_one_from_docker(engine: DockerEngine) -> None:
    made = await engine.ensure_network("aegis-any", internal=False, labels=LABELS)
    assert made.gateway.rpartition(".")[0] == made.subnet.rpartition(".")[0]
    assert await engine.ensure_network("aegis-any", internal=False, labels=LABELS) == made


async def test_simultaneous_creations_end_in_one_network(engine: DockerEngine, docker_host: HostDocker) -> None:
    adapters = [DockerEngine(str(docker_host.socket_path)) for _ in range(4)]  # as several processes would
    wanted = {"internal": True, "labels": LABELS, "subnets": ("10.217.0.0/24",)}
    made = await asyncio.gather(*(each.ensure_network("aegis-race", **wanted) for each in adapters))
    for each in adapters:
        await each.close()
    [left] = await engine.list_managed()
    assert left.name == "aegis-race"
    assert set(made) == {await engine.ensure_network("aegis-race", **wanted)}


async def test_a_network_that_differs_is_refused_with_each_difference(engine: DockerEngine) -> None:
    await engine.ensure_network("aegis-net", internal=True, labels=LABELS, subnets=("10.214.0.0/24",))
    with pytest.raises(Conflict) as caught:
        await engine.ensure_network("aegis-net", internal=False, labels=LABELS, subnets=("10.215.0.0/24",))
    assert "internal is True, wanted False" in caught.value.message
    assert "subnet is 10.214.0.0/24, wanted 10.215.0.0/24" in caught.value.message
    assert "docker network rm aegis-net" in caught.value.next_step


async def test_containers_on_one_network_reach_the_host_but_not_each_other(engine: DockerEngine) -> None:
    network = await engine.ensure_network("aegis-net", internal=False, labels=LABELS, subnets=("10.216.0.0/24",))
    server = await engine.create(
        container_spec(network="aegis-net", command=("busybox", "nc", "-lk", "-p", "99", "-e", "/bin/echo", "hello"))
    )
    await engine.start(server)
    # The server has the subnet's second address; a refused or dropped connection ends with a non-zero exit.
    script = "busybox nc -w 2 10.216.0.2 99; echo $?"
    client = await engine.create(container_spec(network="aegis-net", command=("/bin/sh", "-c", script)))
    await engine.start(client)
    await engine.wait(client)
    out = b"".join([piece async for name, piece in engine.logs(client) if name == "stdout"])
    assert out == b"1\n"
    assert network.gateway == "10.216.0.1"


async def test_network_removal_waits_for_its_containers_and_may_be_repeated(
    engine: DockerEngine, hasty: DockerEngine
) -> None:
    await engine.ensure_network("aegis-net", internal=True, labels=LABELS)
    container_id = await engine.create(container_spec(network="aegis-net", command=("sleep", "1000")))
    await engine.start(container_id)
    with pytest.raises(Conflict, match="docker network inspect aegis-net"):
        await hasty.remove_network("aegis-net")
    removing = asyncio.create_task(engine.remove_network("aegis-net"))
    await engine.remove_container(container_id)
    await removing
    await engine.remove_network("aegis-net")
    assert await engine.list_managed() == []


async def test_a_network_that_went_away_before_the_start_is_named(engine: DockerEngine) -> None:
    await engine.ensure_network("aegis-net", internal=True, labels=LABELS)
    container_id = await engine.create(container_spec(network="aegis-net"))
    await engine.remove_network("aegis-net")
    with pytest.raises(ContainerFailed, match="its network aegis-net is gone") as caught:
        await engine.start(container_id)
    assert caught.value.retryable
