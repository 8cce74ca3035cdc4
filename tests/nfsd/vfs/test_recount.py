"""A volume is counted while it is used: whatever the operations do between two steps of the count, and between what a
step has read and when it is told, the account ends as the tree is."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfsd.vfs.account import KeptAccount
from nfsd.vfs.conformance import failing, settled
from nfsd.vfs.interface import NO_CHANGES, Caller, Changes, CreateHow, Maybe, Node, Stability
from nfsd.vfs.ledger import AHEAD_ENTRIES_MAX, Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.quota import Quota
from nfsd.vfs.recount import STEP_ENTRIES_MAX, Seen, measure

CALLER = Caller(1000, 1000)
PLENTY = 1 << 40

DIRECTORIES = (b"", b"a", b"b", b"a/c", b"b/d")
NAMES = (b"a", b"b", b"c", b"d", b"f", b"g")
OPERATIONS = (
    "create", "sized", "recreate", "symlink", "mkdir", "mknod", "size", "write", "remove", "rmdir", "rename", "rename",
    "link",
)  # fmt: skip
OPERATION = st.tuples(
    st.sampled_from(OPERATIONS),
    st.sampled_from(DIRECTORIES), st.sampled_from(NAMES),
    st.sampled_from(DIRECTORIES), st.sampled_from(NAMES),
    st.integers(0, 300),
)  # fmt: skip
STEP = st.one_of(OPERATION, OPERATION, st.sampled_from(["take", "merge"]))


def plant(root: Path) -> None:
    """Files in every directory, some with a second name elsewhere."""
    for number, path in enumerate(DIRECTORIES):
        directory = root / os.fsdecode(path)
        directory.mkdir(exist_ok=True)
        (directory / "f").write_bytes(bytes(10 + number))
        (directory / "g").write_bytes(bytes(1000 + number))
    os.link(root / "a" / "f", root / "b" / "e")
    (root / "b" / "s").symlink_to("nowhere")
    os.mkfifo(root / "a" / "p")
    (root / "empty").mkdir()


def directory_of(fs: Quota, path: bytes) -> Node:
    node = fs.root
    for name in path.split(b"/") if path else ():
        node, _attributes = fs.lookup(CALLER, node, name)
    return node


def act(fs: Quota, operation: str, path: bytes, name: bytes, to_path: bytes, to_name: bytes, size: int) -> Maybe[Any]:
    directory = directory_of(fs, path)
    match operation:
        case "create":
            return fs.create(CALLER, directory, name, CreateHow.GUARDED, Changes(mode=0o600))
        case "sized":
            return fs.create(CALLER, directory, name, CreateHow.GUARDED, Changes(size=size))
        case "recreate":
            return fs.create(CALLER, directory, name, CreateHow.UNCHECKED, Changes(size=size))
        case "symlink":
            return fs.symlink(CALLER, directory, name, b"x" * (size + 1), NO_CHANGES)
        case "mkdir":
            return fs.mkdir(CALLER, directory, name, NO_CHANGES)
        case "mknod":
            return fs.mknod(CALLER, directory, name, 0o010000, NO_CHANGES)
        case "remove":
            return fs.remove(CALLER, directory, name)
        case "rmdir":
            return fs.rmdir(CALLER, directory, name)
        case "rename":
            return fs.rename(CALLER, directory, name, directory_of(fs, to_path), to_name)
    node, _attributes = fs.lookup(CALLER, directory, name)
    match operation:
        case "size":
            return fs.setattr(CALLER, node, Changes(size=size))
        case "write":
            return fs.write(CALLER, node, size, b"x" * 50, Stability.UNSTABLE)
    return fs.link(CALLER, node, directory_of(fs, to_path), to_name)


REFUSALS = frozenset((
    errno.EEXIST, errno.ENOENT, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EPERM,
))  # fmt: skip


@given(
    steps=st.lists(STEP, max_size=60),
    entries=st.sampled_from([1, 1, 2, 5]),
    durability=st.sampled_from(["host", "stable"]),
    files_max=st.sampled_from([None, PLENTY]),
    estimate=st.integers(1, 10_000),
)
@settings(max_examples=300, deadline=None)
def test_what_happens_during_a_count_is_counted_exactly_once(
    steps: list[Any], entries: int, durability: str, files_max: int | None, estimate: int
) -> None:
    async def run(root: Path) -> None:
        ledger = Ledger(PLENTY, files_max, bytes_used=estimate)
        fs = Quota(LocalFileSystem(root, durability=durability), ledger)
        count = ledger.begin(root)
        taken: list[Seen] | None = None
        for step in steps:
            if step == "take":
                taken = count.take(entries) if taken is None and ledger.counting is not None else taken
            elif step == "merge":
                if taken is not None:
                    ledger.merge(taken)
                    taken = None
            else:
                try:
                    await settled(act(fs, *step))
                except OSError as error:
                    assert error.errno in REFUSALS, error
        if taken is not None:
            ledger.merge(taken)
        while ledger.counting is not None:
            ledger.merge(count.take(entries))
        files = None if files_max is None else ledger.files_used
        assert (ledger.bytes_used, files) == (measure(root)[0], None if files_max is None else measure(root)[1])
        await fs.close()

    root = Path(tempfile.mkdtemp())
    try:
        plant(root)
        asyncio.run(run(root))
    finally:
        shutil.rmtree(root)


Operation = tuple[str, bytes, bytes, bytes, bytes, int]


def moved(path: bytes, name: bytes, to_path: bytes, to_name: bytes) -> Operation:
    return ("rename", path, name, to_path, to_name, 0)


SCENARIOS: dict[str, tuple[Operation, ...]] = {
    "a directory moves": (moved(b"", b"a", b"b", b"a"),),
    "a directory moves there and back": (moved(b"", b"b", b"a", b"b"), moved(b"a", b"b", b"", b"b")),
    "two directories change places": (
        moved(b"a", b"c", b"b", b"c"), moved(b"b", b"d", b"a", b"c"), moved(b"b", b"c", b"b", b"d"),
    ),
    "a directory moves within one that moves": (moved(b"a", b"c", b"", b"c"), moved(b"", b"a", b"c", b"a")),
    "a file moves": (moved(b"a", b"f", b"b", b"x"), moved(b"b", b"g", b"a", b"x")),
    "a file is linked and loses its first name": (
        ("link", b"b/d", b"g", b"", b"x", 0), ("remove", b"b/d", b"g", b"", b"", 0),
    ),
    "a file of two names loses one": (("remove", b"a", b"f", b"", b"", 0),),
    "an empty directory goes": (("rmdir", b"", b"empty", b"", b"", 0),),
    "an empty directory is replaced": (moved(b"a", b"c", b"", b"empty"),),
    "a file goes and another gets its number": (
        ("remove", b"a/c", b"g", b"", b"", 0), ("create", b"b", b"x", b"", b"", 0), ("write", b"b", b"x", b"", b"", 7),
    ),
    "a file grows and goes": (("size", b"b", b"g", b"", b"", 3000), ("remove", b"b", b"g", b"", b"", 0)),
}  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("late", [False, True], ids=["told before", "told after"])
async def test_whenever_it_happens_it_is_counted_exactly_once(tmp_path: Path, scenario: str, late: bool) -> None:
    """The first operation after each entry the walk looks at; the others at once, or a little later, or at the end.
    `late`: what the walk has just found is told to the account after the operation."""
    steps = -1  # of an undisturbed count: not known before the first
    first = 0
    while first <= max(steps, 0):
        for then in (first, first + 2, max(steps, first)):
            steps = max(steps, await counted(tmp_path / f"{first} {then}", SCENARIOS[scenario], first, then, late))
        first += 1
    assert first > 15


async def counted(root: Path, operations: tuple[Operation, ...], first: int, then: int, late: bool) -> int:
    """One count with the operations in it; how many steps it took."""
    await asyncio.to_thread(root.mkdir, exist_ok=True)
    plant(root)
    ledger = Ledger(PLENTY, PLENTY, bytes_used=1)
    fs = Quota(LocalFileSystem(root, durability="host"), ledger)
    count, steps = ledger.begin(root), 0
    due = {first: operations[:1]}
    due[then] = due.get(then, ()) + operations[1:]
    while ledger.counting is not None:
        found = count.take(1) if late else []
        for operation in due.pop(steps, ()):
            await settled(act(fs, *operation))
        ledger.merge(found if late else count.take(1))
        steps += 1
    for operation in (operation for operations in due.values() for operation in operations):
        await settled(act(fs, *operation))
    assert (ledger.bytes_used, ledger.files_used) == measure(root), (first, then)
    await fs.close()
    shutil.rmtree(root)
    return steps


async def test_what_fits_for_certain_is_done_and_what_cannot_fit_is_refused_while_it_is_counted(tmp_path: Path) -> None:
    """500 bytes are there, and an earlier process thought 800; of 1,000."""
    kept = KeptAccount(tmp_path / "account")
    kept.set(800, None)
    kept.close()
    root = tmp_path / "data"
    root.mkdir()
    (root / "f").write_bytes(bytes(500))
    ledger = Ledger(1000)
    fs = Quota(LocalFileSystem(root, durability="host"), ledger)
    count = ledger.begin(root, tmp_path / "account")
    node, _attributes = fs.lookup(CALLER, fs.root, b"f")

    def grow_to(size: int) -> Maybe[Any]:
        return fs.setattr(CALLER, node, Changes(size=size))

    assert fs.statistics().bytes_available == 200
    await settled(grow_to(700))  # shows the file to the count, too
    await failing(errno.EAGAIN, lambda: grow_to(701))
    await failing(errno.ENOSPC, lambda: grow_to(1001))  # whatever else there is
    await settled(grow_to(600))
    assert fs.statistics().bytes_available == 100
    while ledger.counting is not None:
        ledger.merge(count.take())
    await settled(grow_to(1000))
    await failing(errno.ENOSPC, lambda: grow_to(1001))
    assert ledger.bytes_used == 1000
    await fs.close()
    await ledger.close()


async def test_nothing_grows_before_the_first_count_of_all_has_ended_and_df_shows_what_was_found(
    tmp_path: Path,
) -> None:
    (tmp_path / "f").write_bytes(bytes(300))
    (tmp_path / "g").write_bytes(bytes(100))
    ledger = Ledger(1000, 10)
    fs = Quota(LocalFileSystem(tmp_path, durability="host"), ledger)
    count = ledger.begin(tmp_path)
    root = fs.root
    for act_on in (
        lambda: fs.create(CALLER, root, b"new", CreateHow.GUARDED, Changes(size=1)),
        lambda: fs.mkdir(CALLER, root, b"new", NO_CHANGES),
    ):
        await failing(errno.EAGAIN, act_on)
    await failing(errno.ENOSPC, lambda: fs.symlink(CALLER, root, b"new", b"x" * 1001, NO_CHANGES))
    await settled(fs.remove(CALLER, root, b"g"))  # what frees is done
    assert (fs.statistics().bytes_available, fs.statistics().files_available) == (1000, 10)
    while ledger.counting is not None:
        ledger.merge(count.take(1))
    assert (fs.statistics().bytes_available, fs.statistics().files_available) == (700, 9)
    await fs.close()


async def test_the_estimate_is_never_lower_than_what_was_found(tmp_path: Path) -> None:
    """The host wrote while nobody served."""
    for number in range(10):
        (tmp_path / str(number)).write_bytes(bytes(100))
    ledger = Ledger(2000, bytes_used=450)
    count = ledger.begin(tmp_path)
    figures = [ledger.bytes_used]
    while ledger.counting is not None:
        ledger.merge(count.take(1))
        figures.append(ledger.bytes_used)
    assert figures == sorted(figures)
    assert (figures[0], figures[-1]) == (450, 1000)


async def test_the_last_figures_are_there_after_a_kill(tmp_path: Path) -> None:
    """Nobody closed anything: another process opens the file."""
    root = tmp_path / "data"
    root.mkdir()
    ledger = Ledger(1000, 10)
    await ledger.open(root, tmp_path / "account")
    fs = Quota(LocalFileSystem(root, durability="host"), ledger)
    await settled(fs.create(CALLER, fs.root, b"f", CreateHow.GUARDED, Changes(size=123)))
    copy = tmp_path / "copy"
    copy.write_bytes((tmp_path / "account").read_bytes())
    kept = KeptAccount(copy)
    assert kept.read() == (123, 1)
    kept.close()
    await fs.close()
    await ledger.close()


@pytest.mark.parametrize("content", [b"", b"what is this?", bytes(24), b"nfsdacc1" + b"\xff" * 16])
def test_a_file_that_is_no_account_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "account").write_bytes(content)
    kept = KeptAccount(tmp_path / "account")
    assert kept.read() == (None, None)
    kept.close()


async def test_a_count_cut_short_leaves_the_last_figures(tmp_path: Path) -> None:
    """And a first count cut short leaves none."""
    root = tmp_path / "data"
    root.mkdir()
    (root / "f").write_bytes(bytes(500))
    for figures in (None, 800):
        if figures is not None:
            kept = KeptAccount(tmp_path / "account")
            kept.set(figures, None)
            kept.close()
        ledger = Ledger(1000)
        ledger.begin(root, tmp_path / "account").close()
        await ledger.close()
        kept = KeptAccount(tmp_path / "account")
        assert kept.read() == (figures, None)
        kept.close()


async def test_two_processes_do_not_share_the_figures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Ledger(1000), Ledger(1000)
    await first.open(tmp_path, tmp_path / "account")
    await second.open(tmp_path, tmp_path / "account")
    assert "account" in caplog.text
    assert "before it is counted" in caplog.text
    await second.close()
    await first.close()


async def test_a_large_volume_is_served_before_it_is_counted(tmp_path: Path) -> None:
    count = AHEAD_ENTRIES_MAX + 3 * STEP_ENTRIES_MAX
    for number in range(count):
        (tmp_path / f"{number}").touch()
    ledger = Ledger(1000, 2 * count, bytes_used=1, files_used=1)
    await ledger.open(tmp_path)
    assert ledger.counting is not None
    await ledger.counted()
    assert (ledger.bytes_used, ledger.files_used) == (0, count)
    await ledger.close()


async def test_a_volume_is_closed_in_the_middle_of_its_first_count_which_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(AHEAD_ENTRIES_MAX + 3 * STEP_ENTRIES_MAX):
        (tmp_path / f"{number}").touch()
    ledger = Ledger(1000)
    await ledger.open(tmp_path)
    assert f"{tmp_path} is counted for the first time" in caplog.text
    await ledger.close()
    assert ledger.counting is None


async def test_a_count_that_is_short_of_descriptors_goes_on_when_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path)
    refusals = iter([errno.EMFILE, errno.ENOMEM])
    monkeypatch.setattr("nfsd.vfs.ledger.RETRY_SECONDS", 0)
    real = os.scandir

    def scandir(fd: int) -> Any:
        for code in refusals:
            raise OSError(code, os.strerror(code))
        return real(fd)

    monkeypatch.setattr(os, "scandir", scandir)
    ledger = Ledger(PLENTY)
    await ledger.recount(tmp_path)
    assert ledger.bytes_used == measure(tmp_path)[0] > 5000
    await ledger.close()


async def test_a_directory_that_cannot_be_read_is_passed_over_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "f").write_bytes(bytes(10))
    (tmp_path / "d").mkdir()
    real = os.scandir

    def scandir(fd: int) -> Any:
        if os.fstat(fd).st_ino == (tmp_path / "d").stat().st_ino:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd)

    monkeypatch.setattr(os, "scandir", scandir)
    ledger = Ledger(1000)
    await ledger.recount(tmp_path)
    assert (ledger.bytes_used, ledger.counting) == (10, None)
    assert "b'd' cannot be read ([Errno 5] Input/output error)" in caplog.text
    await ledger.close()


def test_a_measure_is_what_find_says(tmp_path: Path) -> None:
    plant(tmp_path)
    size, files, seen = 0, 0, set()
    for above, directories, names in os.walk(tmp_path):
        for name in (*directories, *names):
            found = os.lstat(os.path.join(above, name))
            if found.st_ino not in seen:
                seen.add(found.st_ino)
                files += 1
                size += 0 if name in directories else found.st_size
    assert measure(tmp_path) == (size, files)
    assert size == 10 + 11 + 12 + 13 + 14 + 5 * 1000 + 10 + len("nowhere")
