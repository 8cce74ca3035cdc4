"""Volumes by themselves: made, held, given back."""

from __future__ import annotations

import pytest

from aegis.domain.manifest import AccessMode, FilesystemPolicy, Security, StorageClass, VolumeSpec
from aegis.domain.volume import VolumeState
from aegis.errors import Conflict, NotFound, WorldError
from aegis.services.volumes import VolumeService, rules_for
from tests.support import samples
from tests.support.fakes_model import FakeModel, answer
from tests.support.world import World

EPHEMERAL = VolumeSpec(name="scratch", mount_path="/scratch", ttl_hours=1)
PERSISTENT = VolumeSpec(name="kept", mount_path="/kept", storage_class=StorageClass.PERSISTENT)


def service(world: World) -> VolumeService:
    return world.daemon.volumes


@pytest.fixture
async def world() -> World:
    return World.make(FakeModel([answer("done")]))


async def test_a_new_volume_has_storage_an_fsid_and_is_available(world: World) -> None:
    volume = await service(world).create("default", "kept", storage_class=StorageClass.PERSISTENT, ttl_hours=2)
    assert (volume.state, volume.storage_class) == (VolumeState.AVAILABLE, StorageClass.PERSISTENT)
    assert 0 < volume.fsid < 2**64
    assert volume.id in world.gateway.storage
    assert await service(world).live("default") == [volume]


async def test_storage_that_cannot_be_made_leaves_a_failed_volume_that_can_be_deleted(world: World) -> None:
    world.gateway.failures["create_storage"] = [WorldError("disk full")]
    with pytest.raises(WorldError, match="disk full"):
        await service(world).create("default", "kept", storage_class=StorageClass.PERSISTENT)
    [volume] = await service(world).live("default")
    assert (volume.state, volume.error) == (VolumeState.FAILED, "disk full")
    await service(world).delete("default", volume.id)
    assert await service(world).live("default") == []


async def test_deleting_takes_the_files_once_and_can_be_repeated_after_a_failure(world: World) -> None:
    volume = await service(world).create("default", "kept", storage_class=StorageClass.PERSISTENT)
    world.gateway.failures["delete_storage"] = [WorldError("busy")]
    with pytest.raises(WorldError):
        await service(world).delete("default", volume.id)
    assert (await service(world).show("default", volume.id)).state is VolumeState.DELETING
    await service(world).delete("default", volume.id)
    assert world.gateway.storage == {}
    with pytest.raises(NotFound, match="deleted already"):
        await service(world).delete("default", volume.id)


async def test_an_attached_volume_cannot_be_deleted_and_nobody_elses_be_seen(world: World) -> None:
    execution = samples.execution()
    await world.store.add_execution(execution)
    mounted = await service(world).attach(execution, PERSISTENT)
    with pytest.raises(Conflict, match="is attached"):
        await service(world).delete("default", mounted.volume.id)
    with pytest.raises(NotFound):
        await service(world).show("other", mounted.volume.id)


async def test_an_attachment_squashes_to_the_executions_ids_under_a_key_of_its_own(world: World) -> None:
    execution = samples.execution(container_uid=4711, container_gid=4712)
    await world.store.add_execution(execution)
    one, two = [(await service(world).attach(execution, spec)).attachment for spec in (EPHEMERAL, PERSISTENT)]
    assert (one.uid, one.gid) == (4711, 4712)
    assert len(one.export_key) == 16
    assert one.export_key != two.export_key
    assert one.docker_volume_name != two.docker_volume_name


async def test_releasing_keeps_persistent_volumes_and_deletes_ephemeral_ones(world: World) -> None:
    execution = samples.execution()
    await world.store.add_execution(execution)
    for spec in (EPHEMERAL, PERSISTENT):
        await service(world).attach(execution, spec)
    await service(world).release(execution)
    await service(world).release(execution)
    [kept] = await service(world).live("default")
    assert (kept.name, kept.state, kept.owner_execution_id) == ("kept", VolumeState.DETACHED, None)
    assert world.gateway.attached == {}
    kinds = [event.kind for event in await world.store.list_events(execution.id)]
    assert sorted(kinds) == ["volume.attached"] * 2 + ["volume.created"] + ["volume.deleted"] + ["volume.detached"] * 2


async def test_a_failure_while_releasing_is_told_after_everything_else_was_released(world: World) -> None:
    execution = samples.execution()
    await world.store.add_execution(execution)
    for spec in (EPHEMERAL, PERSISTENT):
        await service(world).attach(execution, spec)
    world.gateway.failures["detach"] = [WorldError("busy")]
    with pytest.raises(WorldError, match="busy"):
        await service(world).release(execution)
    assert len(world.gateway.attached) == 1
    await service(world).release(execution)
    assert world.gateway.attached == {}


async def test_only_ephemeral_volumes_go_at_their_time_and_not_while_held(world: World) -> None:
    execution = samples.execution()
    await world.store.add_execution(execution)
    await service(world).attach(execution, EPHEMERAL)
    await service(world).create("default", "loose", storage_class=StorageClass.EPHEMERAL, ttl_hours=1)
    await service(world).create("default", "kept", storage_class=StorageClass.PERSISTENT, ttl_hours=1)
    await world.clock.advance(3599)
    assert await service(world).sweep(unfinished_seconds=120) == []
    await world.clock.advance(1)
    assert [volume.name for volume in await service(world).sweep(unfinished_seconds=120)] == ["loose"]
    assert {volume.name for volume in await service(world).live()} == {"scratch", "kept"}


def test_the_gateway_gets_the_manifests_rules_relative_to_the_volume() -> None:
    policy = FilesystemPolicy(read=("/scratch/**", "/kept/in/**"), write=("/kept/out/**",))
    manifest = samples.manifest(security=Security(filesystem=policy))
    rules = rules_for(manifest, PERSISTENT.model_copy(update={"access_mode": AccessMode.READ_ONLY}))
    assert (rules.read_only, rules.read, rules.write) == (True, ("in/**",), ("out/**",))
    free = rules_for(samples.manifest(), EPHEMERAL)
    assert (free.read_only, free.read, free.write, free.identity) == (False, None, None, "squash")
    assert rules_for(samples.manifest(), EPHEMERAL.model_copy(update={"identity": "mapped"})).identity == "mapped"
