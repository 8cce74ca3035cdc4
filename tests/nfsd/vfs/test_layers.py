"""Squash, policy, audit, and the order they are stacked in."""

from __future__ import annotations

import ast
import asyncio
import errno
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import nfsd
from nfsd.vfs.audit import Audit
from nfsd.vfs.conformance import failing, settled
from nfsd.vfs.interface import (
    MAY_READ,
    MAY_WRITE,
    NO_CHANGES,
    Caller,
    Changes,
    CreateHow,
    FileSystem,
    Later,
    Misplaced,
    Node,
    Stability,
)
from nfsd.vfs.layer import OPERATIONS, Layer
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.patterns import Pattern
from nfsd.vfs.policy import Policy
from nfsd.vfs.records import Event, Record, Span
from nfsd.vfs.squash import Squash
from nfsd.vfs.stack import SquashTo, build_stack

CALLER = Caller(501, 20)


async def made(fs: FileSystem, directory: Node, name: bytes, mode: int = 0o644) -> Node:
    return (await settled(fs.create(CALLER, directory, name, CreateHow.GUARDED, Changes(mode=mode))))[0]


async def made_directory(fs: FileSystem, directory: Node, name: bytes, mode: int = 0o755) -> Node:
    return (await settled(fs.mkdir(CALLER, directory, name, Changes(mode=mode))))[0]


# ---- layers ----


def test_a_layer_that_has_nothing_to_say_is_the_inner_method_itself() -> None:
    backend = MemoryFileSystem()
    for layer in (Layer(backend), Policy(backend)):
        for name in OPERATIONS:
            assert getattr(layer, name) == getattr(backend, name)
    stack = build_stack(backend, identity=SquashTo(1000, 1000), ledger=Ledger(1 << 20))
    for name in ("getattr", "read", "find", "peek", "path", "readlink"):
        assert getattr(stack, name) == getattr(backend, name)


def test_every_operation_of_the_interface_is_passed_on() -> None:
    methods = {name for name, value in vars(FileSystem).items() if callable(value) and not name.startswith("_")}
    assert set(OPERATIONS) == methods - {"close"}


def test_nobody_but_the_stack_composes_layers() -> None:
    package = Path(nfsd.__file__).parent
    layers = {"Audit", "Mapped", "Squash", "Policy", "Quota"}
    for file in package.rglob("*.py"):
        if file.name == "stack.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in layers, f"{file}:{node.lineno}: build_stack composes layers"


# ---- squash ----


async def test_permissions_are_the_owners_whoever_calls() -> None:
    fs = Squash(MemoryFileSystem(uid=7, gid=7), 1000, 1000)
    directory = await made_directory(fs, fs.root, b"d")
    file = await made(fs, directory, b"f")
    below = await made_directory(fs, directory, b"below", 0o555)
    root, who = fs.root, CALLER

    async def chmod(mode: int) -> None:
        await settled(fs.setattr(who, directory, Changes(mode=mode)))

    assert (fs.shown_uid, fs.shown_gid) == (1000, 1000)
    await chmod(0o677)  # no search
    await failing(errno.EACCES, lambda: fs.lookup(who, directory, b"f"))
    await failing(errno.EACCES, lambda: fs.parent(who, directory))
    await chmod(0o377)  # no listing
    await failing(errno.EACCES, lambda: fs.readdir(who, directory))
    await chmod(0o577)  # no change of names
    for act in (
        lambda: fs.create(who, directory, b"x", CreateHow.UNCHECKED, NO_CHANGES),
        lambda: fs.mkdir(who, directory, b"x", NO_CHANGES),
        lambda: fs.symlink(who, directory, b"x", b"t", NO_CHANGES),
        lambda: fs.mknod(who, directory, b"x", stat.S_IFIFO, NO_CHANGES),
        lambda: fs.link(who, file, directory, b"x"),
        lambda: fs.remove(who, directory, b"f"),
        lambda: fs.rmdir(who, directory, b"below"),
        lambda: fs.rename(who, directory, b"f", root, b"x"),
        lambda: fs.rename(who, root, b"d", directory, b"x"),
    ):
        await failing(errno.EACCES, act)
    assert fs.access(who, directory) == 5
    await chmod(0o755)
    await failing(errno.EACCES, lambda: fs.rename(who, directory, b"below", root, b"below"))  # its .. would change
    await settled(fs.setattr(who, below, Changes(mode=0o755)))
    await settled(fs.rename(who, directory, b"below", root, b"below"))


async def test_squashed_to_root_everything_is_allowed_but_running_what_nobody_may_run() -> None:
    fs = Squash(MemoryFileSystem(), 0, 0)
    directory = await made_directory(fs, fs.root, b"d", 0)
    file = await made(fs, directory, b"f", 0)
    assert fs.access(CALLER, directory) == 7
    assert fs.access(CALLER, file) == 6
    await settled(fs.setattr(CALLER, file, Changes(mode=0o4001)))
    assert fs.access(CALLER, file) == 7
    await settled(fs.write(CALLER, file, 0, b"x", Stability.UNSTABLE))
    assert stat.S_IMODE(fs.getattr(file).st_mode) == 0o4001


async def test_chown_to_oneself_succeeds_and_to_others_as_configured() -> None:
    backend = MemoryFileSystem(uid=7, gid=7)
    fs = Squash(backend, 1000, 1000, chown="deny")
    node = await made(fs, fs.root, b"f", 0o6755)
    found = await settled(fs.setattr(CALLER, node, Changes(uid=1000, gid=1000)))
    assert stat.S_IMODE(found.st_mode) == 0o755
    assert (backend.getattr(node).st_uid, backend.getattr(node).st_gid) == (7, 7)
    await failing(errno.EPERM, lambda: fs.setattr(CALLER, node, Changes(uid=0, mode=0)))
    assert stat.S_IMODE(fs.getattr(node).st_mode) == 0o755
    await failing(errno.EPERM, lambda: fs.mkdir(CALLER, fs.root, b"d", Changes(gid=5)))
    lenient = Squash(backend, 1000, 1000)
    await settled(lenient.setattr(CALLER, node, Changes(uid=0, gid=0)))
    await settled(lenient.mkdir(CALLER, fs.root, b"d", Changes(gid=5)))
    assert backend.getattr(node).st_uid == 7
    with pytest.raises(ValueError, match="wanted"):
        Squash(backend, 1, 1, chown="maybe")


# ---- policy ----


@pytest.mark.parametrize(
    ("pattern", "path", "matches", "below"),
    [
        ("/src/**", "src", True, True),
        ("/src/**", "src/a/b", True, True),
        ("/src/**", "srcs", False, False),
        ("/src/**", "", False, True),
        ("/**", "", True, True),
        ("/", "", True, False),
        ("/src/*.py", "src/a.py", True, False),
        ("/src/*.py", "src/a/b.py", False, False),
        ("/src/*.py", "src", False, True),
        ("/**/test_*/**", "a/b/test_x/c", True, True),
        ("/**/x", "a/b", False, True),
        ("/a?[bc]", "axc", True, False),
        ("/\udcff*", "\udcffz", True, False),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool, below: bool) -> None:
    parts = tuple(path.encode("utf-8", "surrogateescape").split(b"/")) if path else ()
    assert Pattern(pattern).matches(parts) == matches
    assert Pattern(pattern).may_match_below(parts) == below


@pytest.mark.parametrize("text", ["src/**", "", "/a/../b", "/a//b", "/" + "x" * 5000])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="wanted an absolute path"):
        Pattern(text)


async def tree() -> tuple[MemoryFileSystem, dict[bytes, Node]]:
    """/src/main.py /src/sub/ /docs/a /secret/key"""
    backend = MemoryFileSystem()
    nodes = {name: await made_directory(backend, backend.root, name) for name in (b"src", b"docs", b"secret")}
    nodes[b"sub"] = await made_directory(backend, nodes[b"src"], b"sub")
    nodes[b"main.py"] = await made(backend, nodes[b"src"], b"main.py")
    nodes[b"a"] = await made(backend, nodes[b"docs"], b"a")
    nodes[b"key"] = await made(backend, nodes[b"secret"], b"key")
    return backend, nodes


async def test_read_only_refuses_every_change_with_erofs() -> None:
    backend, nodes = await tree()
    denied: list[tuple[str, bytes, int]] = []
    fs = Policy(backend, read_only=True, on_denied=lambda *event: denied.append(event))
    root, file = fs.root, nodes[b"main.py"]
    changes = (
        lambda: fs.setattr(CALLER, file, Changes(mode=0)),
        lambda: fs.write(CALLER, file, 0, b"x", Stability.UNSTABLE),
        lambda: fs.create(CALLER, root, b"x", CreateHow.UNCHECKED, NO_CHANGES),
        lambda: fs.mkdir(CALLER, root, b"x", NO_CHANGES),
        lambda: fs.symlink(CALLER, root, b"x", b"t", NO_CHANGES),
        lambda: fs.mknod(CALLER, root, b"x", stat.S_IFIFO, NO_CHANGES),
        lambda: fs.link(CALLER, file, root, b"x"),
        lambda: fs.remove(CALLER, nodes[b"src"], b"main.py"),
        lambda: fs.rmdir(CALLER, nodes[b"src"], b"sub"),
        lambda: fs.rename(CALLER, nodes[b"src"], b"main.py", root, b"x"),
    )
    for act in changes:
        await failing(errno.EROFS, act)
    assert [code for _operation, _path, code in denied] == [errno.EROFS] * len(changes)
    assert denied[0][:2] == ("setattr", b"src/main.py")
    assert fs.access(CALLER, file) == 4
    assert fs.readdir == backend.readdir


async def test_only_what_the_patterns_mean_is_there() -> None:
    backend, nodes = await tree()
    denied: list[tuple[str, bytes, int]] = []
    fs = Policy(backend, read=["/src/**", "/docs/*"], write=["/src/**"], on_denied=lambda *event: denied.append(event))
    listing = await settled(fs.readdir(CALLER, fs.root))
    assert {entry.name for entry in listing.entries(0)} == {b".", b"..", b"src", b"docs"}
    assert fs.peek(fs.root, b"secret") is None
    await failing(errno.EACCES, lambda: fs.lookup(CALLER, fs.root, b"secret"))
    assert denied == [("lookup", b"secret", errno.EACCES)]
    assert fs.lookup(CALLER, nodes[b"docs"], b"a")[0] is nodes[b"a"]
    await failing(errno.EACCES, lambda: fs.write(CALLER, nodes[b"a"], 0, b"x", Stability.UNSTABLE))
    await failing(errno.EACCES, lambda: fs.read(CALLER, nodes[b"key"], 0, 1))
    await failing(errno.EACCES, lambda: fs.readdir(CALLER, nodes[b"secret"]))
    await failing(errno.EACCES, lambda: fs.create(CALLER, nodes[b"docs"], b"new", CreateHow.GUARDED, NO_CHANGES))
    await made(fs, nodes[b"src"], b"new")
    assert fs.access(CALLER, nodes[b"a"]) == 4
    assert fs.access(CALLER, nodes[b"main.py"]) == 6


async def test_moving_and_linking_are_no_way_round_the_policy() -> None:
    backend, nodes = await tree()
    fs = Policy(backend, read=["/src/**", "/docs/**"], write=["/src/**", "/secret/**"])
    src, secret, root = nodes[b"src"], nodes[b"secret"], fs.root
    await failing(errno.EACCES, lambda: fs.rename(CALLER, secret, b"key", src, b"key"))
    await failing(errno.EACCES, lambda: fs.link(CALLER, nodes[b"key"], src, b"key"))
    await failing(errno.EACCES, lambda: fs.link(CALLER, nodes[b"a"], src, b"a"))  # would be writable there
    await failing(errno.EACCES, lambda: fs.rename(CALLER, root, b"secret", src, b"secret"))
    await settled(fs.rename(CALLER, src, b"main.py", nodes[b"sub"], b"main.py"))
    await settled(fs.rename(CALLER, src, b"sub", secret, b"sub"))
    await failing(errno.EACCES, lambda: fs.read(CALLER, nodes[b"main.py"], 0, 1))  # decided anew where it is now


@pytest.mark.parametrize("uid", [0, 1000])
async def test_access_through_the_stack_grants_what_the_policy_leaves(uid: int) -> None:
    backend, nodes = await tree()
    identity = SquashTo(uid, uid)
    fixed = build_stack(backend, identity=identity, read_only=True)
    assert fixed.access(CALLER, nodes[b"main.py"]) & MAY_WRITE == 0
    assert fixed.access(CALLER, nodes[b"main.py"]) & MAY_READ
    limited = build_stack(backend, identity=identity, read=["/**"], write=["/docs/**"])
    assert limited.access(CALLER, nodes[b"main.py"]) & MAY_WRITE == 0
    assert limited.access(CALLER, nodes[b"a"]) & MAY_WRITE


async def test_a_file_of_two_names_has_the_rights_of_the_one_it_was_looked_up_by_last() -> None:
    backend = MemoryFileSystem()
    free, fixed = (
        await made_directory(backend, backend.root, b"free"),
        await made_directory(backend, backend.root, b"fixed"),
    )
    file = await made(backend, fixed, b"f")
    await settled(backend.link(CALLER, file, free, b"f"))
    fs = Policy(backend, read=["/**"], write=["/free/**"])
    for _ in range(2):
        fs.lookup(CALLER, fixed, b"f")
        await failing(errno.EACCES, lambda: fs.write(CALLER, file, 0, b"text", Stability.UNSTABLE))
        fs.lookup(CALLER, free, b"f")
        await settled(fs.write(CALLER, file, 0, b"text", Stability.UNSTABLE))


async def test_a_directory_moved_to_another_path_has_that_paths_rights() -> None:
    backend, nodes = await tree()
    fs = Policy(backend, read=["/**"], write=["/src/**", "/docs/**", "/other/*"])
    await settled(fs.create(CALLER, nodes[b"sub"], b"old", CreateHow.GUARDED, NO_CHANGES))
    other = await made_directory(backend, fs.root, b"other")
    await settled(fs.rename(CALLER, nodes[b"src"], b"sub", other, b"sub"))
    await failing(errno.EACCES, lambda: fs.create(CALLER, nodes[b"sub"], b"new", CreateHow.GUARDED, NO_CHANGES))


# ---- audit ----


async def audited() -> tuple[Audit, list[Record]]:
    records: list[Record] = []
    fs = build_stack(MemoryFileSystem(), identity=SquashTo(1, 1), read_only=False, sink=records.extend)
    assert isinstance(fs, Audit)
    return fs, records


def timeless(records: Sequence[Record]) -> list[Record]:
    """Without how long each took."""
    return [record._replace(nanoseconds=0) for record in records]


async def test_reads_and_writes_become_spans_and_the_rest_events() -> None:
    fs, records = await audited()
    fs.tick(5.0)
    node = await made(fs, fs.root, b"f")
    for offset in (100, 0, 50):
        await settled(fs.write(CALLER, node, offset, bytes(10), Stability.UNSTABLE))
    await settled(fs.read(CALLER, node, 0, 1000))
    fs.getattr(node)
    await settled(fs.rename(CALLER, fs.root, b"f", fs.root, b"g"))
    fs.tick(14.0)
    fs.tick(15.0)
    assert all(record.nanoseconds > 0 for record in records)
    assert timeless(records) == [
        Event(5.0, "create", fs.root.fileid, b"f", None, 0),
        Event(5.0, "rename", fs.root.fileid, b"f", b"g", 0),
        Span(5.0, "read", node.fileid, b"f", 1, 110, 0, 110),
        Span(5.0, "write", node.fileid, b"f", 3, 30, 0, 110),
    ]
    assert fs.counts == {"create": 1, "write": 3, "read": 1, "getattr": 1, "rename": 1}
    assert (fs.bytes_read, fs.bytes_written) == (110, 30)


async def test_the_wait_for_a_flush_is_in_the_spans_time() -> None:
    flushed = asyncio.get_running_loop().create_future()

    class Waiting(MemoryFileSystem):
        def write(self, *_arguments: object) -> Later[Stability]:  # type: ignore[override]
            return Later(flushed)

    records: list[Record] = []
    fs = Audit(Waiting(), records.extend)
    node = await made(fs, fs.root, b"f")
    result = fs.write(CALLER, node, 0, b"x", Stability.FILE_SYNC)
    waiting_since = time.perf_counter_ns()
    fs.getattr(node)  # some time passes
    waited = time.perf_counter_ns() - waiting_since
    flushed.set_result(Stability.FILE_SYNC)
    await settled(result)
    fs.flush()
    assert [record.nanoseconds >= waited for record in records if isinstance(record, Span)] == [True]


async def test_refusals_are_events_and_failures_are_counted() -> None:
    fs, records = await audited()
    directory = await made_directory(fs, fs.root, b"d", 0)
    await failing(errno.EACCES, lambda: fs.lookup(CALLER, directory, b"x"))
    await failing(errno.ENOENT, lambda: fs.lookup(CALLER, fs.root, b"none"))
    await failing(errno.ENOENT, lambda: fs.remove(CALLER, fs.root, b"none"))
    fs.flush()
    assert timeless(records[1:]) == [
        Event(0.0, "lookup", directory.fileid, b"d/x", None, errno.EACCES),
        Event(0.0, "remove", fs.root.fileid, b"none", None, errno.ENOENT),
    ]
    assert fs.errors == {("lookup", errno.EACCES): 1, ("lookup", errno.ENOENT): 1, ("remove", errno.ENOENT): 1}
    assert fs.counts["lookup"] == 2


async def test_a_sink_that_fails_stops_the_work_and_loses_nothing() -> None:
    records: list[Record] = []
    broken = True

    def sink(batch: Sequence[Record]) -> None:
        if broken:
            raise RuntimeError("no database")
        records.extend(batch)

    fs = Audit(MemoryFileSystem(), sink, batch_records_max=3)
    for index in range(3):
        await made(fs, fs.root, b"%d" % index)
    for index in range(5):
        await failing(errno.EIO, lambda index=index: fs.mkdir(CALLER, fs.root, b"x%d" % index, NO_CHANGES))  # type: ignore[misc]
    await failing(errno.EIO, lambda: fs.read(CALLER, fs.root, 0, 1))
    broken = False
    await settled(fs.mkdir(CALLER, fs.root, b"y", NO_CHANGES))
    await fs.close()
    assert [record.path for record in records] == [b"0", b"1", b"2", b"y"]


async def test_spans_are_closed_by_size_and_open_ones_are_bounded() -> None:
    records: list[Record] = []
    fs = Audit(MemoryFileSystem(), records.extend, span_bytes_max=100, batch_records_max=1)
    node = await made(fs, fs.root, b"f")
    for _ in range(10):
        await settled(fs.write(CALLER, node, 0, bytes(30), Stability.UNSTABLE))
    fs.flush()
    spans = [record for record in records if isinstance(record, Span)]
    assert [span.bytes for span in spans] == [120, 120, 60]
    assert sum(span.operations for span in spans) == 10


async def test_a_misplaced_node_is_not_counted_until_it_is_found() -> None:
    class Moving(MemoryFileSystem):
        def getattr(self, node: Node):  # type: ignore[no-untyped-def]
            raise Misplaced(node.fileid, node.generation)

    fs = Audit(Moving(), lambda batch: None)
    with pytest.raises(Misplaced):
        fs.getattr(fs.root)
    assert fs.counts == {}


async def test_what_any_layer_refuses_is_recorded() -> None:
    records: list[Record] = []
    fs = build_stack(
        MemoryFileSystem(), identity=SquashTo(1, 1), read_only=True, ledger=Ledger(10), sink=records.extend
    )
    await failing(errno.EROFS, lambda: fs.mkdir(CALLER, fs.root, b"d", NO_CHANGES))
    await fs.close()
    assert timeless(records) == [Event(0.0, "mkdir", fs.root.fileid, b"d", None, errno.EROFS)]
