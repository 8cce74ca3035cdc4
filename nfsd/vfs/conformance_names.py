"""The half of the contract that is about names and nodes (conformance.py says how to run it)."""

from __future__ import annotations

import errno
import stat

from nfsd.vfs.conformance import OTHER_VERIFIER, TOO_LARGE, VERIFIER, Contract, DataContract, failing, settled
from nfsd.vfs.interface import NO_CHANGES, Changes, CreateHow, Stability

STRANGE_NAMES = (b"\xff\xfe", b" ", b"...", b"a\nb", b"-rf", b"*", b"\x01", "ä".encode(), b"n" * 255)
NO_NAMES = (b"", b".", b"..", b"a/b", b"/", b"a\0b")


class NamesContract(Contract):
    """Finding, making, moving and removing."""

    async def test_names_are_any_bytes(self) -> None:
        nodes = {name: await self.file(name) for name in STRANGE_NAMES}
        assert sorted(await self.names()) == sorted((b".", b"..", *STRANGE_NAMES))
        for name, node in nodes.items():
            assert self.fs.lookup(self.caller, self.fs.root, name)[0] is node
            await settled(self.fs.remove(self.caller, self.fs.root, name))

    async def test_what_is_no_single_name_never_reaches_the_tree(self) -> None:
        fs, who, root = self.fs, self.caller, self.fs.root
        node = await self.file(b"a")
        for name, code in [(name, errno.EINVAL) for name in NO_NAMES] + [(b"n" * 256, errno.ENAMETOOLONG)]:
            for act in (
                lambda n: fs.lookup(who, root, n),
                lambda n: fs.create(who, root, n, CreateHow.UNCHECKED, NO_CHANGES),
                lambda n: fs.mkdir(who, root, n, NO_CHANGES),
                lambda n: fs.symlink(who, root, n, b"t", NO_CHANGES),
                lambda n: fs.mknod(who, root, n, stat.S_IFIFO, NO_CHANGES),
                lambda n: fs.link(who, node, root, n),
                lambda n: fs.remove(who, root, n),
                lambda n: fs.rmdir(who, root, n),
                lambda n: fs.rename(who, root, n, root, b"b"),
                lambda n: fs.rename(who, root, b"a", root, n),
            ):
                await failing(code, lambda name=name, act=act: act(name))  # type: ignore[misc]
        assert sorted(await self.names()) == [b".", b"..", b"a"]

    async def test_a_lookup_follows_nothing_and_finds_the_same_node(self) -> None:
        directory = await self.directory()
        made, _ = await settled(self.fs.symlink(self.caller, self.fs.root, b"s", b"directory", NO_CHANGES))
        found, attributes = self.fs.lookup(self.caller, self.fs.root, b"s")
        assert found is made
        assert stat.S_ISLNK(attributes.st_mode)
        await failing(errno.ENOTDIR, lambda: self.fs.lookup(self.caller, found, b"x"))
        await failing(errno.ENOENT, lambda: self.fs.lookup(self.caller, directory, b"x"))
        await failing(errno.ENOTDIR, lambda: self.fs.readdir(self.caller, found))
        assert self.fs.peek(directory, b"x") is None

    async def test_nothing_leads_out_of_the_root(self) -> None:
        directory = await self.directory()
        below = await self.directory(directory=directory)
        assert self.fs.parent(self.caller, below)[0] is directory
        assert self.fs.parent(self.caller, directory)[0] is self.fs.root
        assert self.fs.parent(self.caller, self.fs.root)[0] is self.fs.root
        assert [self.fs.path(node) for node in (self.fs.root, directory, below)] == [
            b"",
            b"directory",
            b"directory/directory",
        ]

    async def test_a_handle_finds_its_node_and_no_other_life_of_its_number(self) -> None:
        node = await self.file()
        assert await settled(self.fs.find(node.fileid, node.generation)) is node
        await failing(errno.ESTALE, lambda: self.fs.find(node.fileid, node.generation ^ 1))
        await settled(self.fs.remove(self.caller, self.fs.root, b"file"))
        for index in range(20):  # the number is soon used again
            await self.file(b"%d" % index)
        await failing(errno.ESTALE, lambda: self.fs.find(node.fileid, node.generation))
        await failing(errno.ESTALE, lambda: self.fs.getattr(node))
        await failing(errno.ESTALE, lambda: self.fs.write(self.caller, node, 0, b"x", Stability.UNSTABLE))
        await failing(errno.ESTALE, lambda: self.fs.setattr(self.caller, node, Changes(mode=0o600)))

    async def test_create_guarded_refuses_and_unchecked_takes_what_is_there(self) -> None:
        node = await self.file(data=b"content")
        create, root, who = self.fs.create, self.fs.root, self.caller
        await failing(errno.EEXIST, lambda: create(who, root, b"file", CreateHow.GUARDED, NO_CHANGES))
        taken, attributes = await settled(create(who, root, b"file", CreateHow.UNCHECKED, Changes(mode=0o600)))
        assert taken is node
        assert (attributes.st_size, stat.S_IMODE(attributes.st_mode)) == (7, 0o644)
        _taken, attributes = await settled(create(who, root, b"file", CreateHow.UNCHECKED, Changes(size=0)))
        assert attributes.st_size == 0

    async def test_create_opens_nothing_but_regular_files(self) -> None:
        create, root, who = self.fs.create, self.fs.root, self.caller
        await self.directory()
        await settled(self.fs.symlink(who, root, b"s", b"target", NO_CHANGES))
        await settled(self.fs.mknod(who, root, b"p", stat.S_IFIFO, NO_CHANGES))
        for how, of_directory in ((CreateHow.UNCHECKED, errno.EISDIR), (CreateHow.EXCLUSIVE, errno.EEXIST)):
            for name, code in ((b"directory", of_directory), (b"s", errno.EEXIST), (b"p", errno.EEXIST)):
                await failing(code, lambda n=name, c=how: create(who, root, n, c, NO_CHANGES, VERIFIER))  # type: ignore[misc]
        assert self.fs.peek(root, b"target") is None

    async def test_an_exclusive_create_can_be_sent_again(self) -> None:
        create, root, who = self.fs.create, self.fs.root, self.caller
        node, _ = await settled(create(who, root, b"x", CreateHow.EXCLUSIVE, NO_CHANGES, VERIFIER))
        again, _ = await settled(create(who, root, b"x", CreateHow.EXCLUSIVE, NO_CHANGES, VERIFIER))
        assert again is node
        await failing(errno.EEXIST, lambda: create(who, root, b"x", CreateHow.EXCLUSIVE, NO_CHANGES, OTHER_VERIFIER))
        await self.set(node, Changes(atime_ns=1, mtime_ns=1))  # what every client does next: the file is in use now
        await failing(errno.EEXIST, lambda: create(who, root, b"x", CreateHow.EXCLUSIVE, NO_CHANGES, VERIFIER))

    async def test_a_create_that_fails_leaves_no_file(self) -> None:
        changes = Changes(size=1 << 63)
        await failing(TOO_LARGE, lambda: self.fs.create(self.caller, self.fs.root, b"x", CreateHow.GUARDED, changes))
        assert await self.names() == [b".", b".."]

    async def test_create_applies_size_and_times(self) -> None:
        changes = Changes(mode=0o640, size=100, atime_ns=3_000_000_003, mtime_ns=4_000_000_004)
        create = self.fs.create(self.caller, self.fs.root, b"x", CreateHow.UNCHECKED, changes)
        _node, found = await settled(create)
        assert (found.st_size, found.st_atime_ns, found.st_mtime_ns) == (100, 3_000_000_003, 4_000_000_004)

    async def test_every_kind_of_file_is_made_as_such(self) -> None:
        fs, who, root = self.fs, self.caller, self.fs.root
        for kind in (stat.S_IFIFO, stat.S_IFSOCK):
            made = fs.mknod(who, root, b"%d" % kind, kind, Changes(mode=0o620))
            node, attributes = await settled(made)
            assert attributes.st_mode == kind | 0o620
            assert node.kind == kind
        for kind in (stat.S_IFBLK, stat.S_IFCHR):
            await failing(errno.EPERM, lambda kind=kind: fs.mknod(who, root, b"dev", kind, NO_CHANGES))  # type: ignore[misc]
        link, attributes = await settled(fs.symlink(who, root, b"s", b"/any/\xff/../bytes", Changes(mode=0o600)))
        assert fs.readlink(who, link) == b"/any/\xff/../bytes"
        assert attributes.st_size == len(b"/any/\xff/../bytes")
        await failing(errno.EINVAL, lambda: fs.readlink(who, root))
        await failing(errno.EEXIST, lambda: fs.symlink(who, root, b"s", b"x", NO_CHANGES))
        await failing(errno.EEXIST, lambda: fs.mkdir(who, root, b"s", NO_CHANGES))

    async def test_children_of_a_setgid_directory_are_setgid(self) -> None:
        directory = await self.directory()
        await self.set(directory, Changes(mode=0o2755))
        assert self.mode(await self.directory(directory=directory)) == 0o2755

    async def test_a_file_lives_as_long_as_its_last_name(self) -> None:
        fs, who, root = self.fs, self.caller, self.fs.root
        node = await self.file(data=b"shared")
        directory = await self.directory()
        assert (await settled(fs.link(who, node, directory, b"two"))).st_nlink == 2
        assert fs.lookup(who, directory, b"two")[0] is node
        await failing(errno.EEXIST, lambda: fs.link(who, node, directory, b"two"))
        await failing(errno.EPERM, lambda: fs.link(who, directory, root, b"three"))
        assert await settled(fs.remove(who, root, b"file")) is None
        assert await self.content(node) == b"shared"
        assert fs.path(node) == b"directory/two"
        last = await settled(fs.remove(who, directory, b"two"))
        assert last is not None
        assert last.st_size == 6
        await failing(errno.ESTALE, lambda: fs.getattr(node))

    async def test_remove_and_rmdir_tell_their_kinds_apart(self) -> None:
        fs, who, root = self.fs, self.caller, self.fs.root
        await self.file()
        directory = await self.directory()
        await self.file(b"x", directory=directory)
        await failing(errno.EISDIR, lambda: fs.remove(who, root, b"directory"))
        await failing(errno.ENOTDIR, lambda: fs.rmdir(who, root, b"file"))
        await failing(errno.ENOTEMPTY, lambda: fs.rmdir(who, root, b"directory"))
        await failing(errno.ENOENT, lambda: fs.remove(who, root, b"none"))
        await failing(errno.ENOENT, lambda: fs.rmdir(who, root, b"none"))
        await settled(fs.remove(who, directory, b"x"))
        await settled(fs.rmdir(who, root, b"directory"))
        await failing(errno.ESTALE, lambda: fs.readdir(who, directory))
        assert await self.names() == [b".", b"..", b"file"]

    async def test_rename_moves_the_node_and_what_is_below(self) -> None:
        fs, who, root = self.fs, self.caller, self.fs.root
        one, two = await self.directory(b"1"), await self.directory(b"2")
        node = await self.file(data=b"x", directory=one)
        await settled(fs.rename(who, root, b"1", two, b"moved"))
        assert fs.path(node) == b"2/moved/file"
        assert fs.parent(who, one)[0] is two
        assert await self.content(node) == b"x"
        await failing(errno.ENOENT, lambda: fs.lookup(who, root, b"1"))
        await failing(errno.EINVAL, lambda: fs.rename(who, root, b"2", one, b"below"))
        await failing(errno.ENOENT, lambda: fs.rename(who, root, b"none", two, b"x"))

    async def test_rename_replaces_as_posix_says(self) -> None:
        fs, who, root = self.fs, self.caller, self.fs.root
        old, new = await self.file(b"old", b"12345"), await self.file(b"new", b"123")
        directory, empty = await self.directory(b"d"), await self.directory(b"e")
        await self.file(b"x", directory=directory)
        await failing(errno.EISDIR, lambda: fs.rename(who, root, b"old", root, b"d"))
        await failing(errno.ENOTDIR, lambda: fs.rename(who, root, b"d", root, b"old"))
        await failing(errno.ENOTEMPTY, lambda: fs.rename(who, root, b"e", root, b"d"))
        gone = await settled(fs.rename(who, root, b"new", root, b"old"))
        assert gone is not None
        assert gone.st_size == 5
        assert fs.lookup(who, root, b"old")[0] is new
        await failing(errno.ESTALE, lambda: fs.getattr(old))
        await settled(fs.rename(who, root, b"d", root, b"e"))
        assert fs.lookup(who, root, b"e")[0] is directory
        await failing(errno.ESTALE, lambda: fs.getattr(empty))

    async def test_renaming_one_file_over_itself_does_nothing(self) -> None:
        fs, who, root = self.fs, self.caller, self.fs.root
        node = await self.file()
        await settled(fs.link(who, node, root, b"two"))
        for source, target in ((b"file", b"two"), (b"file", b"file")):
            assert await settled(fs.rename(who, root, source, root, target)) is None
        assert sorted(await self.names()) == [b".", b"..", b"file", b"two"]
        assert fs.getattr(node).st_nlink == 2

    async def test_a_listing_goes_on_from_every_cookie(self) -> None:
        wanted = {b"%d" % index for index in range(50)}
        for name in wanted:
            await self.file(name)
        listing = await settled(self.fs.readdir(self.caller, self.fs.root))
        entries = list(listing.entries(0))
        assert [entry.name for entry in entries[:2]] == [b".", b".."]
        assert {entry.name for entry in entries[2:]} == wanted
        assert len(entries) == 52
        for index, entry in enumerate(entries):
            assert 0 < entry.cookie < 1 << 63
            assert list(listing.entries(entry.cookie)) == entries[index + 1 :]
        for entry in entries[2:]:
            assert self.fs.lookup(self.caller, self.fs.root, entry.name)[0].fileid == entry.fileid

    async def test_cookies_hold_while_others_come_and_go(self) -> None:
        for index in range(30):
            await self.file(b"%d" % index)
        entries = list((await settled(self.fs.readdir(self.caller, self.fs.root))).entries(0))
        place, left = entries[15], [entry.name for entry in entries[16:]]
        for entry in entries[2:16]:  # also the one the cookie came from
            await settled(self.fs.remove(self.caller, self.fs.root, entry.name))
        assert await self.names(cookie=place.cookie) == left
        for index in range(30):
            await self.file(b"new%d" % index)
        found = await self.names(cookie=place.cookie)
        assert [name for name in found if not name.startswith(b"new")] == left

    async def test_a_listing_shows_every_change_made_here(self) -> None:
        fs, who = self.fs, self.caller
        directory = await self.directory()
        node = await self.file(b"a", directory=directory)
        assert await self.names(directory) == [b".", b"..", b"a"]
        await settled(fs.rename(who, directory, b"a", directory, b"b"))
        await settled(fs.link(who, node, fs.root, b"c"))
        assert await self.names(directory) == [b".", b"..", b"b"]
        await settled(fs.remove(who, directory, b"b"))
        assert await self.names(directory) == [b".", b".."]
        await settled(fs.rename(who, fs.root, b"c", directory, b"d"))
        await settled(fs.mkdir(who, directory, b"e", NO_CHANGES))
        assert sorted(await self.names(directory)) == [b".", b"..", b"d", b"e"]

    async def test_statistics_are_plausible(self) -> None:
        found = self.fs.statistics()
        assert 0 <= found.bytes_available <= found.bytes_free <= found.bytes_total
        assert 0 <= found.files_available <= found.files_free <= found.files_total


class FileSystemContract(DataContract, NamesContract):
    """All of it."""
