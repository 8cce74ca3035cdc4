"""link and symlink: hard links are equals, symbolic links are text."""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, EINVAL, ELOOP, EMLINK, ENAMETOOLONG, ENOENT

from integration.posix.claims import ORDINARY, claim
from integration.posix.tools import content, exists, holds, link_followed, make, mode_of, moves, opened, refused, same

LINKS = 500
SYMLINK_BYTES_MAX = 4095
SYMLINKS_FOLLOWED_MAX = 40


@claim()
def what_is_written_by_one_name_is_read_by_the_other() -> None:
    make("one", b"1")
    os.link("one", "two")
    with opened("two", os.O_WRONLY | os.O_TRUNC) as fd:
        os.write(fd, b"2")
    same(content("one"), b"2")


@claim()
def modes_and_times_of_links_are_one() -> None:
    make("one")
    os.link("one", "two")
    os.chmod("two", 0o640)
    os.utime("two", (1, 2))
    one, two = os.stat("one"), os.stat("two")
    same((one.st_mode, one.st_mtime_ns), (two.st_mode, two.st_mtime_ns))


@claim()
def link_moves_ctime_of_the_file_and_leaves_mtime() -> None:
    make("one")
    moves("one", "ctime", lambda: os.link("one", "two"))


@claim()
def a_file_has_500_links_in_one_directory() -> None:
    make("f")
    for number in range(LINKS):
        os.link("f", f"l{number}")
    same((os.stat("f").st_nlink, len(os.listdir("."))), (LINKS + 1, LINKS + 1))
    for number in range(LINKS):
        os.unlink(f"l{number}")
    same(os.stat("f").st_nlink, 1)


@claim()
def links_across_directories_survive_the_first_name() -> None:
    os.makedirs("a/b")
    make("a/b/f", b"x")
    os.link("a/b/f", "g")
    os.unlink("a/b/f")
    os.rmdir("a/b")
    same(content("g"), b"x")


@claim()
def link_over_a_name_is_EEXIST_also_of_the_same_file() -> None:
    make("one")
    os.link("one", "two")
    refused(EEXIST, os.link, "one", "two")
    refused(EEXIST, os.link, "one", "one")


@claim()
def link_of_a_symlink_is_a_link_of_the_symlink_itself() -> None:
    make("target")
    os.symlink("target", "soft")
    os.link("soft", "hard", follow_symlinks=False)
    same((os.readlink("hard"), os.lstat("soft").st_nlink, os.stat("target").st_nlink), ("target", 2, 1))


@claim()
def link_of_an_open_file_by_its_descriptor_works() -> None:
    make("f", b"x")
    with opened("f") as fd:
        link_followed(f"/proc/self/fd/{fd}", "g")
    same((content("g"), os.stat("f").st_nlink), (b"x", 2))


@claim()
def link_of_a_file_of_mode_0_works_for_its_owner() -> None:
    make("f", mode=0o000)
    os.link("f", "g")
    same((mode_of("g"), os.stat("g").st_nlink), (0, 2))


@claim(ORDINARY)
def link_into_an_unwritable_directory_is_EACCES() -> None:
    make("f")
    os.mkdir("d")
    os.chmod("d", 0o500)
    refused(EACCES, os.link, "f", "d/f")


@claim()
def a_link_count_never_wraps() -> None:
    """Up to a few hundred here; file systems that say EMLINK say it far above."""
    make("f")
    try:
        for number in range(LINKS):
            os.link("f", f"l{number}")
    except OSError as error:
        same(error.errno, EMLINK)
    same(os.stat("f").st_nlink, len(os.listdir(".")))


@claim()
def a_symlink_is_read_back_byte_for_byte() -> None:
    for number, target in enumerate((b"a", b"../..//x/./y", b"\xff\xfe not utf-8", b"with\nnewline", b"/", b" ")):
        os.symlink(target, b"l%d" % number)
        same(os.readlink(b"l%d" % number), target)
        same(os.lstat(b"l%d" % number).st_size, len(target), "size")


@claim()
def a_symlink_holds_4095_bytes() -> None:
    target = "x" * SYMLINK_BYTES_MAX
    os.symlink(target, "l")
    same((os.readlink("l"), os.lstat("l").st_size), (target, SYMLINK_BYTES_MAX))


@claim()
def a_symlink_of_4096_bytes_is_ENAMETOOLONG() -> None:
    refused(ENAMETOOLONG, os.symlink, "x" * (SYMLINK_BYTES_MAX + 1), "l")
    same(os.listdir("."), [])


@claim()
def an_empty_symlink_is_ENOENT() -> None:
    refused(ENOENT, os.symlink, "", "l")


@claim()
def a_symlink_to_itself_is_ELOOP() -> None:
    os.symlink("l", "l")
    refused(ELOOP, os.stat, "l")
    refused(ELOOP, os.open, "l", os.O_RDONLY)
    same(os.readlink("l"), "l")


@claim()
def a_chain_of_40_symlinks_is_followed_and_of_41_is_ELOOP() -> None:
    make("l0", b"end")
    for number in range(1, SYMLINKS_FOLLOWED_MAX + 2):
        os.symlink(f"l{number - 1}", f"l{number}")
    same(content(f"l{SYMLINKS_FOLLOWED_MAX}"), b"end")
    refused(ELOOP, os.stat, f"l{SYMLINKS_FOLLOWED_MAX + 1}")


@claim()
def a_symlink_to_a_directory_is_walked_through() -> None:
    os.makedirs("d/e")
    make("d/e/f", b"x")
    os.symlink("d/e", "l")
    same((content("l/f"), os.listdir("l")), (b"x", ["f"]))
    os.mkdir("l/new")
    same(exists("d/e/new"), True)


@claim()
def a_symlink_is_relative_to_its_own_directory() -> None:
    os.mkdir("d")
    make("f", b"outside")
    make("d/f", b"inside")
    os.symlink("f", "d/l")
    same(content("d/l"), b"inside")


@claim()
def a_dangling_symlink_is_ENOENT_and_creates_its_target() -> None:
    os.symlink("target", "l")
    refused(ENOENT, os.stat, "l")
    with opened("l", os.O_CREAT | os.O_WRONLY) as fd:
        os.write(fd, b"x")
    same(content("target"), b"x")


@claim()
def an_exclusive_create_at_a_dangling_symlink_is_EEXIST() -> None:
    os.symlink("target", "l")
    refused(EEXIST, os.open, "l", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    same(exists("target"), False)


@claim()
def mkdir_at_a_dangling_symlink_is_EEXIST() -> None:
    os.symlink("target", "l")
    refused(EEXIST, os.mkdir, "l")


@claim()
def readlink_of_what_is_no_symlink_is_EINVAL() -> None:
    make("f")
    os.mkdir("d")
    os.mkfifo("p")
    for name in ("f", "d", "p", "."):
        refused(EINVAL, os.readlink, name)


@claim()
def a_symlink_has_mode_777() -> None:
    os.umask(0o077)
    os.symlink("x", "l")
    same(mode_of("l"), 0o777)


@claim()
def chmod_and_utime_through_a_symlink_change_the_target() -> None:
    make("target")
    os.symlink("target", "l")
    before = os.lstat("l").st_mtime_ns
    os.chmod("l", 0o600)
    os.utime("l", (1, 2))
    same((mode_of("target"), os.stat("target").st_mtime, os.lstat("l").st_mtime_ns), (0o600, 2.0, before))


@claim()
def reading_a_symlink_through_a_rename_of_its_target_follows_the_new_file() -> None:
    make("a", b"a")
    make("b", b"b")
    os.symlink("a", "l")
    same(content("l"), b"a")
    os.rename("b", "a")
    same(content("l"), b"b")


@claim()
def a_symlink_is_replaced_atomically_by_rename() -> None:
    os.symlink("one", "l")
    os.symlink("two", "tmp")
    os.rename("tmp", "l")
    same(os.readlink("l"), "two")
    holds(not exists("tmp"), "the old name should be gone")
