"""The gateway over real TCP: what a client can reach, as whom, and when; and the same files by path."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from aegis.adapters.nfs.gateway import NfsGateway
from aegis.adapters.nfs.storage import Storage
from aegis.domain.events import Event
from aegis.domain.manifest import AccessMode, StorageClass
from aegis.domain.volume import Attachment, Volume, VolumeState
from aegis.errors import Conflict, Denied, NotFound, Refused, WorldError
from aegis.ids import new_id
from aegis.ports import FileRules
from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3, MountProc, Mountstat3
from nfsd.nfs3.const import Nfsstat3
from nfsd.vfs.account import KeptAccount
from tests.support.peer import Peer

T = TypeVar("T")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = bytes(range(32))


def volume(**changes: object) -> Volume:
    base = Volume(
        id=new_id(),
        tenant_id="tenant",
        name="workspace",
        storage_class=StorageClass.EPHEMERAL,
        state=VolumeState.AVAILABLE,
        created_at=NOW,
        fsid=0x1234567890ABCDEF,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def attachment(of: Volume, **changes: object) -> Attachment:
    base = Attachment(
        id=new_id(),
        volume_id=of.id,
        execution_id=new_id(),
        access_mode=AccessMode.READ_WRITE,
        mount_path="/workspace",
        uid=1234,
        gid=567,
        export_key=os.urandom(8).hex(),
        docker_volume_name="v",
        created_at=NOW,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class World:
    gateway: NfsGateway
    storage: Storage
    events: list[Event] = field(default_factory=list)

    async def ask(self, work: Callable[[Peer], T]) -> T:
        """Run blocking client work beside the event loop that serves it."""

        def connected() -> T:
            with Peer(("127.0.0.1", self.gateway.port)) as peer:
                return work(peer)

        return await asyncio.to_thread(connected)

    async def attached(self, of: Volume, rules: FileRules | None = None, **changes: object) -> tuple[Attachment, str]:
        made = attachment(of, **changes)
        return made, await self.gateway.attach(of, made, rules or FileRules())

    async def mnt(self, path: str) -> Mountstat3:
        return await self.ask(lambda peer: peer.mnt(path.encode()).fhs_status)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    events: list[Event] = []
    storage = Storage(tmp_path / "storage")
    gateway = NfsGateway(storage, listen=[("127.0.0.1", 0)], secret=SECRET, on_events=events.extend)
    await gateway.start()
    yield World(gateway, storage, events)
    await gateway.close()


@pytest.fixture
async def made(world: World) -> Volume:
    new = volume()
    await world.gateway.create_storage(new)
    return new


async def test_a_volume_can_be_mounted_while_it_is_attached_and_not_before_or_after(world: World, made: Volume) -> None:
    assert await world.mnt(made.export_path) == Mountstat3.MNT3ERR_NOENT
    held, path = await world.attached(made)
    assert path == made.export_path == f"/tenant/{made.id}"
    assert await world.mnt(path) == Mountstat3.MNT3_OK
    root = await world.ask(lambda peer: peer.mount(path.encode()))
    await world.gateway.detach(made, held)
    assert await world.mnt(path) == Mountstat3.MNT3ERR_NOENT
    await world.attached(made)  # of another execution: its handles are others
    with pytest.raises(AssertionError, match="STALE"):
        await world.ask(lambda peer: peer.getattr(root))


async def test_files_are_the_executions_in_the_client_and_the_daemons_on_the_host(world: World, made: Volume) -> None:
    _, path = await world.attached(made)

    def work(peer: Peer) -> tuple[int, int]:
        root = peer.mount(path.encode())
        made_file = peer.create(root, b"f")
        peer.write(made_file, 0, b"hello")
        shown = peer.getattr(made_file)
        return shown.uid, shown.gid

    assert await world.ask(work) == (1234, 567)
    host = world.storage.data(made) / "f"
    assert host.read_bytes() == b"hello"
    assert host.stat().st_uid == os.getuid()


async def test_a_second_attachment_has_its_own_path_user_and_rules(world: World, made: Volume) -> None:
    await world.attached(made)
    reader, path = await world.attached(
        made, FileRules(read_only=True), access_mode=AccessMode.READ_ONLY, uid=77, gid=78
    )
    assert path == f"{made.export_path}+{reader.id[:8]}"

    def work(peer: Peer) -> tuple[int, Nfsstat3]:
        writable, readable = peer.mount(made.export_path.encode()), peer.mount(path.encode())
        peer.create(writable, b"f")
        seen = peer.lookup(readable, b"f")
        return peer.getattr(seen).uid, peer.remove(readable, b"f")

    assert await world.ask(work) == (77, Nfsstat3.NFS3ERR_ROFS)


async def test_the_size_limit_holds_and_deleting_gives_back(world: World) -> None:
    small = volume(size_limit_bytes=1000)
    await world.gateway.create_storage(small)
    held, _ = await world.attached(small)
    files = world.gateway.workspace(small, held)
    await files.write("a", b"x" * 900)
    with pytest.raises(Refused, match="size limit"):
        await files.write("b", b"y" * 200)
    assert [entry.name for entry in await files.list("/")] == ["a"]  # nothing half done
    assert (await world.gateway.usage(small)).bytes_used == 900
    await files.delete("a")
    await files.write("b", b"y" * 1000)
    await world.gateway.detach(small, held)
    assert (await world.gateway.usage(small)).bytes_used == 1000


async def test_what_a_volume_holds_is_known_to_the_next_gateway_before_it_is_counted(world: World) -> None:
    """A file of its figures lies beside it, from the first attachment to its deletion."""
    small = volume(size_limit_bytes=1000)
    await world.gateway.create_storage(small)
    held, _ = await world.attached(small)
    await world.gateway.workspace(small, held).write("a", b"x" * 900)
    await world.gateway.detach(small, held)
    account = world.storage.meta(small) / "account"
    kept = KeptAccount(account)
    assert kept.read() == (900, None)
    kept.close()
    (world.storage.data(small) / "by the host").write_bytes(b"y" * 50)
    held, _ = await world.attached(small)
    with pytest.raises(Refused, match="size limit"):
        await world.gateway.workspace(small, held).write("b", b"y" * 51)
    await world.gateway.workspace(small, held).write("b", b"y" * 50)
    await world.gateway.detach(small, held)
    await world.gateway.delete_storage(small)
    assert not account.exists()


async def test_the_operators_view_needs_no_attachment_and_keeps_to_the_limit(world: World) -> None:
    small = volume(size_limit_bytes=100)
    await world.gateway.create_storage(small)
    files = world.gateway.workspace(small)
    await files.make_directory("deep/er")
    await files.write("deep/er/file", b"content")
    assert await files.read("deep/er/file", bytes_max=100) == b"content"
    with pytest.raises(Refused, match="at most 3"):
        await files.read("deep/er/file", bytes_max=3)
    with pytest.raises(Refused, match="size limit"):
        await files.write("large", b"x" * 200)
    with pytest.raises(Conflict, match="not empty"):
        await files.delete("deep")
    await files.delete("deep", recursive=True)
    assert list(await files.list("")) == []


async def test_no_path_leads_out_of_a_volume_and_no_symlink_is_followed(
    world: World, made: Volume, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    held, _ = await world.attached(made)
    data = world.storage.data(made)
    (data / "file-link").symlink_to(tmp_path / "secret")
    (data / "directory-link").symlink_to(tmp_path)
    files = world.gateway.workspace(made, held)
    with pytest.raises(Refused, match=r"'\.\.'"):
        await files.read("../../secret", bytes_max=10)
    for path in ("file-link", "directory-link/secret"):
        with pytest.raises(Refused, match="symbolic link"):
            await files.read(path, bytes_max=10)
        with pytest.raises(Refused, match="symbolic link"):
            await files.write(path, b"overwritten")
    assert (tmp_path / "secret").read_text() == "secret"


async def test_rules_hold_for_the_tools_as_for_nfs_and_refusals_are_events(world: World, made: Volume) -> None:
    held, path = await world.attached(made, FileRules(write=("/out/**",)))
    (world.storage.data(made) / "out").mkdir()
    files = world.gateway.workspace(made, held)
    await files.write("out/allowed", b"x")
    with pytest.raises(Denied):
        await files.write("elsewhere", b"x")

    def work(peer: Peer) -> Nfsstat3:
        return peer.remove(peer.mount(path.encode()), b"out")

    assert await world.ask(work) in (Nfsstat3.NFS3ERR_ACCES, Nfsstat3.NFS3ERR_ISDIR)
    await world.gateway.detach(made, held)
    denied = [event.data["path"] for event in world.events if event.kind == "file.denied"]
    assert "/workspace/elsewhere" in denied
    written = [event for event in world.events if event.kind == "file.write"]
    assert written and all(event.execution_id == held.execution_id for event in written)
    assert [(event.data["volume_id"], event.data["bytes"]) for event in written] == [(made.id, 1)]
    assert all(event.data["milliseconds"] > 0 for event in written)


async def test_a_mapped_volume_tells_users_apart_and_the_tools_are_the_executions_user(
    world: World, made: Volume
) -> None:
    held, path = await world.attached(made, FileRules(identity="mapped"))

    def work(_peer: Peer) -> list[tuple[int, int]]:
        address = ("127.0.0.1", world.gateway.port)
        with Peer(address, uid=0, gid=0) as root, Peer(address, uid=held.uid, gid=held.gid) as user:
            top = root.mount(path.encode())
            private = root.create(top, b"roots", mode=0o600)
            shared = root.create(top, b"shared", mode=0o666)
            files = [top, private, shared, user.create(top, b"users")]
            return [(user.getattr(file).uid, user.getattr(file).gid) for file in files]

    owner = (held.uid, held.gid)
    assert await world.ask(work) == [owner, (0, 0), (0, 0), owner]
    files = world.gateway.workspace(made, held)
    with pytest.raises(Denied):
        await files.read("roots", bytes_max=10)
    with pytest.raises(Denied):
        await files.write("roots", b"x")
    await files.write("shared", b"by a tool")
    await files.write("tools", b"x")

    def seen(peer: Peer) -> list[int]:
        root = peer.mount(path.encode())
        return [peer.getattr(peer.lookup(root, name)).uid for name in (b"shared", b"tools")]

    assert await world.ask(seen) == [0, held.uid], "writing another's file leaves it his"
    assert await world.gateway.workspace(made).read("shared", bytes_max=10) == b"by a tool"
    hosts = {entry.stat().st_uid for entry in world.storage.data(made).iterdir()}
    assert hosts == {os.getuid()}


async def test_a_write_is_whole_or_not_there_and_keeps_the_mode(world: World, made: Volume) -> None:
    held, _ = await world.attached(made)
    files = world.gateway.workspace(made, held)
    with pytest.raises(NotFound, match="missing/f"):
        await files.write("missing/f", b"x")
    await files.write("f", b"first")
    (world.storage.data(made) / "f").chmod(0o755)
    await files.write("f", b"second, longer")
    assert (await files.stat("f")).mode == 0o755
    await files.write("f", b"3")
    assert await files.read("f", bytes_max=10) == b"3"
    assert [entry.name for entry in await files.list("/")] == ["f"]


async def test_names_that_are_no_text_survive_listing_and_reading(world: World, made: Volume) -> None:
    held, _ = await world.attached(made)
    (world.storage.data(made) / os.fsdecode(b"\xff\xfe")).write_bytes(b"odd")
    files = world.gateway.workspace(made, held)
    [entry] = await files.list("/")
    assert await files.read(entry.name, bytes_max=10) == b"odd"


async def test_deleting_a_volume_in_use_is_refused_and_an_idle_one_leaves_nothing(world: World, made: Volume) -> None:
    held, _ = await world.attached(made)
    with pytest.raises(Conflict, match="in use"):
        await world.gateway.delete_storage(made)
    await world.gateway.detach(made, held)
    await world.gateway.delete_storage(made)
    assert not world.storage.data(made).parent.exists()
    assert list((world.storage.root / ".deleted").iterdir()) == []
    await world.gateway.delete_storage(made)  # again: nothing to do


async def test_handles_survive_a_restart_of_the_daemon(world: World, made: Volume, tmp_path: Path) -> None:
    held, path = await world.attached(made)
    handle = await world.ask(lambda peer: peer.create(peer.mount(path.encode()), b"f"))
    await world.gateway.close()
    again = NfsGateway(world.storage, listen=[("127.0.0.1", 0)], secret=SECRET, on_events=lambda _: None)
    await again.attach(made, held, FileRules())  # before the first call can come
    await again.start()
    try:
        assert await again.attach(made, held, FileRules()) == path
        restarted = World(again, world.storage)
        assert (await restarted.ask(lambda peer: peer.getattr(handle))).uid == 1234
    finally:
        await again.close()


async def test_attaching_again_is_the_same_attachment_and_ends_with_one_detach(world: World, made: Volume) -> None:
    held, path = await world.attached(made)
    assert await world.gateway.attach(made, held, FileRules()) == path
    await world.gateway.detach(made, held)
    assert await world.mnt(path) == Mountstat3.MNT3ERR_NOENT
    await world.gateway.delete_storage(made)  # nobody uses it any more


async def test_the_probe_answers_and_says_when_nothing_does(world: World) -> None:
    await world.gateway.probe()
    await world.gateway.close()
    with pytest.raises(WorldError, match="probe"):
        await world.gateway.probe()


async def test_a_taken_port_is_named(world: World) -> None:
    other = NfsGateway(
        world.storage, listen=[("127.0.0.1", world.gateway.port)], secret=SECRET, on_events=lambda _: None
    )
    with pytest.raises(WorldError, match=rf"127.0.0.1:{world.gateway.port} .*storage\.nfs_listen_addr"):
        await other.start()
    await other.close()


async def test_the_exports_are_told_to_nobody(world: World, made: Volume) -> None:
    await world.attached(made)

    def work(peer: Peer) -> tuple[bytes, bytes]:
        peer.mount(made.export_path.encode())
        for xid, procedure in ((901, MountProc.EXPORT), (902, MountProc.DUMP)):
            peer.send_record(peer.call_bytes(MOUNT_PROGRAM, MOUNT_V3, procedure, b"", xid))
        return peer.reply(901), peer.reply(902)

    exports, mounts = await world.ask(work)
    assert exports[-4:] == mounts[-4:] == bytes(4)
    assert made.id.encode() not in exports + mounts


async def test_many_at_once_open_an_idle_volume_once_and_close_it_after_the_last(world: World, made: Volume) -> None:
    await world.gateway.workspace(made).write("f", b"x")
    for _ in range(5):
        seen = await asyncio.gather(*(world.gateway.workspace(made).stat("f") for _ in range(10)))
        assert {entry.size_bytes for entry in seen} == {1}
    await world.gateway.delete_storage(made)  # refused while anybody has it open
