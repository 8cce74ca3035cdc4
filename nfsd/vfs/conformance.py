"""The contract of `FileSystem`, as tests: what every backend, and every stack of layers on one, is held to.

Shipped with the interface, so that an embedder's own backend can be held to it too. With pytest and
pytest-asyncio (mode "auto"), in a test module of yours:

    class TestMine(FileSystemContract):
        @pytest.fixture(autouse=True)
        async def _volume(self):
            self.fs = MyFileSystem()
            yield
            await self.fs.close()

The volume must be empty and its caller its owner. Nothing here needs to know what kind of backend it is; pytest is not
imported. `FileSystemContract` is in conformance_names.py with the other half.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from nfsd.vfs.interface import (
    NO_CHANGES,
    NOW,
    Attributes,
    Caller,
    Changes,
    CreateHow,
    FileRange,
    FileSystem,
    Later,
    Maybe,
    Node,
    ReadResult,
    Stability,
)

T = TypeVar("T")

MODES = (0o000, 0o400, 0o444, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o7777)
VERIFIER, OTHER_VERIFIER = b"\x80\xff\x00\x01\xfe\x03\x04\x05", b"\x80\xff\x00\x01\xfe\x03\x04\x06"


async def settled(result: Maybe[T]) -> T:
    """The result, also when it comes later."""
    if isinstance(result, Later):
        return await result
    return result


TOO_LARGE = (errno.EFBIG, errno.ENOSPC)
"""What is larger than any file may be is larger than a quota too, and a quota is asked first."""


async def failing(code: int | tuple[int, ...], act: Callable[[], object]) -> None:
    """Assert that it fails with this errno (or one of them), at once or later."""
    codes = (code,) if isinstance(code, int) else code
    try:
        result = act()
        if isinstance(result, Later):
            await result
    except OSError as error:
        assert error.errno in codes, f"{error}, wanted {[os.strerror(code) for code in codes]}"
    else:
        raise AssertionError(f"succeeded, wanted {[os.strerror(code) for code in codes]}")


def contents(result: ReadResult) -> bytes:
    """The bytes of a read, released."""
    data = result.data
    if isinstance(data, FileRange):
        content = os.pread(data.fd, data.length, data.offset)
        data.release()
        return content
    content = bytes(data)
    if result.release is not None:
        result.release()
    return content


class Contract:
    """Short words for what the tests do."""

    fs: FileSystem
    caller = Caller(1000, 1000)

    async def file(self, name: bytes = b"file", data: bytes = b"", directory: Node | None = None) -> Node:
        """A new file with contents."""
        how, place = CreateHow.GUARDED, directory or self.fs.root
        node, _attributes = await settled(self.fs.create(self.caller, place, name, how, Changes(mode=0o644)))
        if data:
            await settled(self.fs.write(self.caller, node, 0, data, Stability.FILE_SYNC))
        return node

    async def directory(self, name: bytes = b"directory", directory: Node | None = None) -> Node:
        """A new directory."""
        place = directory or self.fs.root
        node, _attributes = await settled(self.fs.mkdir(self.caller, place, name, Changes(mode=0o755)))
        return node

    async def content(self, node: Node, offset: int = 0, count: int = 1 << 20) -> bytes:
        """What a read gives."""
        return contents(await settled(self.fs.read(self.caller, node, offset, count)))

    async def set(self, node: Node, changes: Changes) -> Attributes:
        """SETATTR."""
        return await settled(self.fs.setattr(self.caller, node, changes))

    async def names(self, directory: Node | None = None, cookie: int = 0) -> list[bytes]:
        """The listing from a cookie on."""
        listing = await settled(self.fs.readdir(self.caller, directory or self.fs.root))
        return [entry.name for entry in listing.entries(cookie)]

    def mode(self, node: Node) -> int:
        """Permission bits."""
        return stat.S_IMODE(self.fs.getattr(node).st_mode)


class DataContract(Contract):
    """Attributes and contents."""

    async def test_every_mode_comes_back_on_files_and_directories(self) -> None:
        file, directory = await self.file(), await self.directory()
        for mode in (*MODES, 0o644):
            for node in (file, directory):
                assert stat.S_IMODE((await self.set(node, Changes(mode=mode))).st_mode) == mode
                assert self.mode(node) == mode
                assert node.owner_access == mode >> 6 & 7

    async def test_every_mode_can_be_created(self) -> None:
        for mode in MODES:
            name = b"%o" % mode
            changes = Changes(mode=mode)
            create = self.fs.create(self.caller, self.fs.root, b"f" + name, CreateHow.UNCHECKED, changes)
            mkdir = self.fs.mkdir(self.caller, self.fs.root, b"d" + name, changes)
            for node, attributes in (await settled(create), await settled(mkdir)):
                assert stat.S_IMODE(attributes.st_mode) == mode == self.mode(node)

    async def test_the_owner_reads_and_writes_whatever_the_mode(self) -> None:
        node = await self.file(data=b"before")
        await self.set(node, Changes(mode=0))
        await settled(self.fs.write(self.caller, node, 0, b"behind", Stability.UNSTABLE))
        assert await self.content(node) == b"behind"
        assert self.mode(node) == 0

    async def test_times_are_kept_to_the_nanosecond(self) -> None:
        symlink, _ = await settled(self.fs.symlink(self.caller, self.fs.root, b"s", b"nowhere", NO_CHANGES))
        fifo, _ = await settled(self.fs.mknod(self.caller, self.fs.root, b"p", stat.S_IFIFO, NO_CHANGES))
        for node in (await self.file(), await self.directory(), symlink, fifo, self.fs.root):
            await self.set(node, Changes(atime_ns=1_000_000_001, mtime_ns=2_000_000_002))
            found = self.fs.getattr(node)
            assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_001, 2_000_000_002)

    async def test_one_time_set_leaves_the_other_alone(self) -> None:
        node = await self.file()
        await self.set(node, Changes(atime_ns=5_000_000_000, mtime_ns=6_000_000_000))
        await self.set(node, Changes(mtime_ns=7_000_000_000))
        assert self.fs.getattr(node).st_atime_ns == 5_000_000_000
        now = await self.set(node, Changes(atime_ns=NOW))
        assert now.st_mtime_ns == 7_000_000_000
        assert now.st_atime_ns == now.st_ctime_ns or now.st_atime_ns > 10**18

    async def test_size_grows_with_zeros_and_shrinks(self) -> None:
        node = await self.file(data=b"abcdef")
        assert (await self.set(node, Changes(size=3))).st_size == 3
        assert (await self.set(node, Changes(size=5))).st_size == 5
        assert await self.content(node) == b"abc\0\0"

    async def test_a_setattr_that_fails_changes_nothing(self) -> None:
        directory = await self.directory()
        await failing(errno.EISDIR, lambda: self.fs.setattr(self.caller, directory, Changes(mode=0o700, size=1)))
        assert self.mode(directory) == 0o755
        symlink, _ = await settled(self.fs.symlink(self.caller, self.fs.root, b"s", b"directory", NO_CHANGES))
        await failing(errno.EINVAL, lambda: self.fs.setattr(self.caller, symlink, Changes(size=0)))
        await failing(errno.EOPNOTSUPP, lambda: self.fs.setattr(self.caller, symlink, Changes(mode=0o600)))

    async def test_writing_and_truncating_take_setuid_away(self) -> None:
        node = await self.file(data=b"program")
        await self.set(node, Changes(mode=0o6755))
        await settled(self.fs.write(self.caller, node, 0, b"P", Stability.FILE_SYNC))
        assert self.mode(node) == 0o755
        await self.set(node, Changes(mode=0o6755))
        await self.set(node, Changes(size=2))
        assert self.mode(node) == 0o755

    async def test_access_is_the_owners_bits(self) -> None:
        node = await self.file()
        for mode, granted in ((0o400, 4), (0o200, 2), (0o070, 0), (0o700, 7)):
            await self.set(node, Changes(mode=mode))
            assert self.fs.access(self.caller, node) == granted

    async def test_eof_is_told_exactly(self) -> None:
        node = await self.file(data=b"0123456789")
        for offset, count, data, eof in (
            (0, 10, b"0123456789", True),
            (0, 9, b"012345678", False),
            (9, 1, b"9", True),
            (5, 100, b"56789", True),
            (10, 5, b"", True),
            (1 << 62, 5, b"", True),
            ((1 << 64) - 1, 5, b"", True),
            (3, 0, b"", False),
        ):
            result = await settled(self.fs.read(self.caller, node, offset, count))
            assert (contents(result), result.eof, result.attributes.st_size) == (data, eof, 10), (offset, count)

    async def test_large_reads_give_what_was_written(self) -> None:
        data = os.urandom(1 << 20) + b"end"
        node = await self.file(data=data)
        for offset, count in ((0, 1 << 20), (1 << 19, 1 << 20), (1, 65536), (0, 65535)):
            result = await settled(self.fs.read(self.caller, node, offset, count))
            assert contents(result) == data[offset : offset + count]
            assert result.eof == (offset + count >= len(data))

    async def test_two_reads_never_share_a_buffer(self) -> None:
        first, second = await self.file(b"1", b"a" * 5000), await self.file(b"2", b"b" * 5000)
        one = await settled(self.fs.read(self.caller, first, 0, 5000))
        two = await settled(self.fs.read(self.caller, second, 0, 5000))
        assert (contents(one), contents(two)) == (b"a" * 5000, b"b" * 5000)

    async def test_only_regular_files_are_read_and_written(self) -> None:
        fifo, _ = await settled(self.fs.mknod(self.caller, self.fs.root, b"p", stat.S_IFIFO, NO_CHANGES))
        for node, code in ((fifo, errno.EINVAL), (await self.directory(), errno.EISDIR)):
            await failing(code, lambda node=node: self.fs.read(self.caller, node, 0, 1))  # type: ignore[misc]
            await failing(
                code,
                lambda node=node: self.fs.write(self.caller, node, 0, b"x", Stability.UNSTABLE),  # type: ignore[misc]
            )

    async def test_a_write_behind_the_end_leaves_zeros(self) -> None:
        node = await self.file()
        await settled(self.fs.write(self.caller, node, 3, b"x", Stability.UNSTABLE))
        await settled(self.fs.write(self.caller, node, 0, b"", Stability.UNSTABLE))
        assert await self.content(node) == b"\0\0\0x"

    async def test_the_buffer_of_a_write_is_free_when_the_call_returns(self) -> None:
        node = await self.file()
        buffer = bytearray(b"a" * 4096)
        pending = self.fs.write(self.caller, node, 0, memoryview(buffer), Stability.FILE_SYNC)
        buffer[:] = b"b" * 4096
        await settled(pending)
        assert await self.content(node) == b"a" * 4096

    async def test_a_write_is_at_least_as_durable_as_asked(self) -> None:
        node = await self.file()
        for stability in Stability:
            assert await settled(self.fs.write(self.caller, node, 0, b"x", stability)) >= stability

    async def test_a_write_beyond_all_sizes_changes_nothing(self) -> None:
        node = await self.file(data=b"x")
        write = self.fs.write
        await failing(TOO_LARGE, lambda: write(self.caller, node, (1 << 63) - 1, b"yy", Stability.UNSTABLE))
        await failing(TOO_LARGE, lambda: write(self.caller, node, (1 << 64) - 8, b"yy", Stability.UNSTABLE))
        await failing(TOO_LARGE, lambda: self.fs.setattr(self.caller, node, Changes(size=1 << 63)))
        assert await self.content(node) == b"x"

    async def test_commits_that_wait_together_all_end(self) -> None:
        node = await self.file()
        verifier = self.fs.write_verifier
        waiting: list[Maybe[None]] = []
        for index in range(5):
            await settled(self.fs.write(self.caller, node, index, b"x", Stability.UNSTABLE))
            waiting.append(self.fs.commit(self.caller, node, 0, 0))
        for pending in waiting:
            await settled(pending)
        assert self.fs.write_verifier == verifier
        assert len(verifier) == 8
