"""rename: atomic, over everything that may be renamed over, refused where POSIX refuses."""

from __future__ import annotations

import os
import stat
from errno import EACCES, EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY

from integration.posix.claims import ORDINARY, ROOT, claim
from integration.posix.tools import (
    KINDS,
    after_tick,
    content,
    exists,
    holds,
    kind_of,
    make,
    moves,
    opened,
    refused,
    rename_with,
    same,
    together,
)  # fmt: skip

NOREPLACE, EXCHANGE = 1, 2
REPLACEMENTS = 200


@claim()
def over_a_file_replaces_it() -> None:
    make("old", b"moved")
    make("new", b"replaced")
    inode = os.stat("old").st_ino
    os.rename("old", "new")
    same((content("new"), os.stat("new").st_ino, os.listdir(".")), (b"moved", inode, ["new"]))


@claim()
def over_a_closed_file_of_mode_0_works() -> None:
    make("old", b"moved")
    make("new", b"replaced", 0o000)
    os.rename("old", "new")
    same(content("new"), b"moved")


@claim()
def over_every_kind_but_a_directory_replaces_it() -> None:
    for kind in ("a_fifo", "a_symlink", "a_socket"):
        KINDS[kind]("new")
        make("old", kind.encode())
        os.rename("old", "new")
        same((content("new"), os.listdir(".")), (kind.encode(), ["new"]))
        os.unlink("new")


@claim()
def of_every_kind_but_a_directory_over_a_file_replaces_it() -> None:
    for kind in ("a_fifo", "a_symlink", "a_socket"):
        make("new")
        KINDS[kind]("old")
        wanted = kind_of("old")
        os.rename("old", "new")
        same((kind_of("new"), os.listdir(".")), (wanted, ["new"]))
        os.unlink("new")


@claim()
def of_a_directory_over_an_empty_one_replaces_it() -> None:
    os.makedirs("old/child")
    os.mkdir("new")
    os.rename("old", "new")
    same((os.listdir("."), os.listdir("new")), (["new"], ["child"]))


@claim()
def of_a_directory_over_a_full_one_is_ENOTEMPTY() -> None:
    os.mkdir("old")
    os.makedirs("new/child")
    refused((ENOTEMPTY, EEXIST), os.rename, "old", "new")
    same(sorted(os.listdir(".")), ["new", "old"])


@claim()
def of_a_file_over_a_directory_is_EISDIR() -> None:
    make("old")
    os.mkdir("new")
    refused(EISDIR, os.rename, "old", "new")


@claim()
def of_a_directory_over_a_file_is_ENOTDIR() -> None:
    os.mkdir("old")
    make("new")
    refused(ENOTDIR, os.rename, "old", "new")


@claim()
def of_a_directory_over_a_symlink_is_ENOTDIR() -> None:
    os.mkdir("old")
    os.mkdir("d")
    os.symlink("d", "new")
    refused(ENOTDIR, os.rename, "old", "new")


@claim()
def of_a_directory_into_its_own_child_is_EINVAL() -> None:
    os.makedirs("d/e/f")
    refused(EINVAL, os.rename, "d", "d/new")
    refused(EINVAL, os.rename, "d", "d/e/f/new")


@claim()
def of_a_directory_onto_its_own_parent_is_ENOTEMPTY() -> None:
    os.makedirs("d/e")
    refused((ENOTEMPTY, EEXIST), os.rename, "d/e", "d")


@claim()
def of_dot_or_dot_dot_is_refused() -> None:
    os.mkdir("d")
    refused((EBUSY, EINVAL), os.rename, "d/.", "new")
    refused((EBUSY, EINVAL), os.rename, "d/..", "new")


@claim()
def onto_itself_does_nothing() -> None:
    make("f", b"x")
    moves("f", "", lambda: os.rename("f", "f"))
    same(content("f"), b"x")
    os.mkdir("d")
    os.rename("d", "d")


@claim()
def onto_another_link_of_the_same_file_does_nothing() -> None:
    make("one")
    os.link("one", "two")
    os.rename("one", "two")
    same((sorted(os.listdir(".")), os.stat("one").st_nlink), (["one", "two"], 2))


@claim()
def of_a_symlink_moves_the_link_and_not_the_target() -> None:
    make("target", b"x")
    os.symlink("target", "old")
    os.rename("old", "new")
    same((os.readlink("new"), content("target")), ("target", b"x"))


@claim()
def over_a_symlink_replaces_the_link_and_not_the_target() -> None:
    make("target", b"keep")
    os.symlink("target", "new")
    make("old", b"moved")
    os.rename("old", "new")
    same((content("target"), content("new"), kind_of("new")), (b"keep", b"moved", stat.S_IFREG))


@claim()
def of_a_missing_name_onto_itself_is_ENOENT() -> None:
    refused(ENOENT, os.rename, "missing", "missing")


@claim()
def to_another_directory_moves_times_of_both() -> None:
    os.mkdir("from")
    os.mkdir("to")
    make("from/f")
    make("from/g")
    moves("from", "mtime ctime", lambda: os.rename("from/f", "to/f"))
    moves("to", "mtime ctime", lambda: os.rename("from/g", "to/g"))


@claim()
def moves_ctime_of_what_is_renamed_and_leaves_mtime() -> None:
    make("f")
    inode = os.stat("f").st_ino
    after_tick("f")
    before = os.stat("f")
    os.rename("f", "g")
    after = os.stat("g")
    same((after.st_ino, after.st_mtime_ns), (inode, before.st_mtime_ns))
    holds(after.st_ctime_ns > before.st_ctime_ns, "ctime should have moved")


@claim()
def over_a_linked_file_takes_one_of_its_links() -> None:
    make("one")
    os.link("one", "two")
    make("new")
    os.rename("new", "one")
    same(os.stat("two").st_nlink, 1, "links")


@claim()
def of_a_directory_moves_a_link_between_the_parents() -> None:
    os.makedirs("from/d")
    os.mkdir("to")
    os.rename("from/d", "to/d")
    same((os.stat("from").st_nlink, os.stat("to").st_nlink), (2, 3))


@claim()
def of_a_directory_changes_its_dot_dot() -> None:
    os.makedirs("from/d")
    os.mkdir("to")
    os.rename("from/d", "to/d")
    same(os.stat("to/d/..").st_ino, os.stat("to").st_ino)


@claim()
def of_a_directory_takes_all_below_with_it() -> None:
    os.makedirs("a/b/c")
    make("a/b/c/f", b"deep")
    os.rename("a", "z")
    same(content("z/b/c/f"), b"deep")
    same(exists("a"), False, "the old name exists")


@claim()
def of_a_directory_keeps_files_open_below_it() -> None:
    os.makedirs("a/b")
    make("a/b/f", b"one")
    with opened("a/b/f", os.O_RDWR) as fd:
        os.rename("a", "z")
        os.pwrite(fd, b"two", 0)
        same(os.pread(fd, 10, 0), b"two")
    same(content("z/b/f"), b"two")


@claim()
def of_the_working_directory_keeps_it() -> None:
    os.mkdir("a")
    make("a/f", b"x")
    os.chdir("a")
    os.rename("../a", "../b")
    same(content("f"), b"x")
    os.chdir("..")


@claim()
def of_an_open_file_keeps_it_open() -> None:
    make("f", b"x")
    with opened("f", os.O_RDWR) as fd:
        os.rename("f", "g")
        os.pwrite(fd, b"y", 0)
    same(content("g"), b"y")


@claim()
def of_a_name_of_255_bytes_works() -> None:
    make("a" * 255)
    os.rename("a" * 255, "b" * 255)
    same(os.listdir("."), ["b" * 255])


@claim()
def with_a_trailing_slash_takes_directories_only() -> None:
    os.mkdir("d")
    os.rename("d/", "e/")
    same(os.listdir("."), ["e"])
    make("f")
    refused(ENOTDIR, os.rename, "f/", "g")
    refused(ENOTDIR, os.rename, "f", "g/")


@claim()
def is_atomic_for_who_reads_the_target() -> None:
    """The target is there at every moment, with one content or another, whole."""
    make("target", b"0" * 1000)

    def writer() -> None:
        for number in range(REPLACEMENTS):
            make(f"new{number}", b"%d" % (number % 10) * 1000)
            os.rename(f"new{number}", "target")

    def reader() -> None:
        for _ in range(REPLACEMENTS):
            try:
                read = content("target")
            except OSError as error:
                raise AssertionError(f"reading the target: {error}") from error
            holds(len(read) == 1000 and len(set(read)) == 1, f"a mixed or cut content: {len(read)} bytes, {set(read)}")

    together(writer, reader)


@claim()
def noreplace_refuses_a_taken_name() -> None:
    make("old")
    make("new")
    refused(EEXIST, rename_with, NOREPLACE, "old", "new")
    rename_with(NOREPLACE, "old", "free")
    same(sorted(os.listdir(".")), ["free", "new"])


@claim()
def exchange_swaps_two_names() -> None:
    make("one", b"1")
    make("two", b"2")
    rename_with(EXCHANGE, "one", "two")
    same((content("one"), content("two")), (b"2", b"1"))


@claim(ORDINARY)
def out_of_an_unwritable_directory_is_EACCES() -> None:
    os.mkdir("from")
    make("from/f")
    os.chmod("from", 0o500)
    refused(EACCES, os.rename, "from/f", "f")


@claim(ORDINARY)
def into_an_unwritable_directory_is_EACCES() -> None:
    make("f")
    os.mkdir("to")
    os.chmod("to", 0o500)
    refused(EACCES, os.rename, "f", "to/f")


@claim(ORDINARY)
def of_an_unwritable_directory_to_another_parent_is_EACCES() -> None:
    """Its `..` would change."""
    os.makedirs("from/d")
    os.mkdir("to")
    os.chmod("from/d", 0o500)
    refused(EACCES, os.rename, "from/d", "to/d")
    os.rename("from/d", "from/e")


@claim(ORDINARY)
def of_a_file_that_may_not_be_written_works() -> None:
    make("f", b"x", 0o400)
    os.rename("f", "g")
    same(content("g"), b"x")


@claim(ROOT)
def through_closed_directories_works_for_root() -> None:
    os.mkdir("from", 0o000)
    make("from/f", b"x", 0o000)
    os.mkdir("to", 0o000)
    os.rename("from/f", "to/f")
    same(content("to/f"), b"x")
