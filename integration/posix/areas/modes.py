"""chmod, chown, umask, and the three bits above the nine: setuid, setgid, sticky."""

from __future__ import annotations

import os
import stat
from errno import EACCES, EPERM

from integration.posix.claims import ORDINARY, ROOT, claim
from integration.posix.tools import (
    NOBODY,
    SOMEBODY,
    content,
    make,
    mode_of,
    moves,
    opened,
    refused,
    same,
    write_all,
)

EVERY_MODE = range(0o10000)
SAMPLE = [*range(0, 0o10000, 0o333), 0o7777, 0o4755, 0o2755, 0o1777, 0o6711]


@claim()
def a_file_takes_all_twelve_bits() -> None:
    make("f")
    for mode in SAMPLE:
        os.chmod("f", mode)
        same(mode_of("f"), mode, "mode")


@claim()
def a_directory_takes_all_twelve_bits() -> None:
    os.mkdir("d")
    for mode in SAMPLE:
        os.chmod("d", mode)
        same(mode_of("d"), mode, "mode")


@claim()
def a_fifo_takes_all_twelve_bits() -> None:
    os.mkfifo("p")
    for mode in SAMPLE:
        os.chmod("p", mode)
        same(mode_of("p"), mode, "mode")


@claim()
def a_mode_survives_rename_link_and_an_unlink_of_the_first_name() -> None:
    make("f", mode=0o600)
    os.chmod("f", 0o6050)
    os.rename("f", "g")
    same(mode_of("g"), 0o6050)
    os.link("g", "h")
    os.unlink("g")
    same(mode_of("h"), 0o6050)


@claim()
def a_mode_of_000_is_taken_back() -> None:
    make("f", b"x")
    os.mkdir("d")
    make("d/f", b"y")
    os.chmod("f", 0)
    os.chmod("d", 0)
    os.chmod("f", 0o600)
    os.chmod("d", 0o700)
    same((content("f"), content("d/f")), (b"x", b"y"))


@claim()
def chmod_moves_ctime_and_leaves_mtime() -> None:
    make("f")
    os.mkdir("d")
    moves("f", "ctime", lambda: os.chmod("f", 0o600))
    moves("d", "ctime", lambda: os.chmod("d", 0o700))


@claim()
def fchmod_is_chmod() -> None:
    make("f")
    with opened("f") as fd:
        os.fchmod(fd, 0o4711)
        same(stat.S_IMODE(os.fstat(fd).st_mode), 0o4711)
    same(mode_of("f"), 0o4711)


@claim()
def a_new_files_mode_is_what_umask_leaves() -> None:
    for mask in (0o000, 0o022, 0o027, 0o077, 0o777):
        os.umask(mask)
        os.close(os.open(f"f{mask:o}", os.O_CREAT | os.O_WRONLY, 0o777))
        os.mkdir(f"d{mask:o}", 0o777)
        os.mkfifo(f"p{mask:o}", 0o777)
        for kind in "fdp":
            same(mode_of(f"{kind}{mask:o}"), 0o777 & ~mask, f"{kind} under umask {mask:o}")


@claim()
def mkdir_takes_the_sticky_bit_with_it() -> None:
    os.mkdir("d", 0o1777)
    same(mode_of("d"), 0o1755)


@claim()
def files_made_with_high_bits_have_them() -> None:
    os.umask(0)
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o4711))
    same(mode_of("f"), 0o4711)
    os.close(os.open("x", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o2755))
    same(mode_of("x"), 0o2755)


@claim()
def a_directory_in_a_setgid_directory_is_setgid_and_a_file_is_not() -> None:
    os.mkdir("d")
    os.chmod("d", 0o2755)
    os.mkdir("d/e")
    make("d/f")
    same((mode_of("d/e"), mode_of("d/f")), (0o2755, 0o644))
    os.mkdir("d/e/deeper")
    same(mode_of("d/e/deeper"), 0o2755)


@claim()
def a_file_in_a_setgid_directory_has_the_directorys_group() -> None:
    os.mkdir("d")
    os.chmod("d", 0o2755)
    make("d/f")
    same(os.stat("d/f").st_gid, os.stat("d").st_gid)


@claim(ORDINARY)
def a_write_takes_setuid_and_setgid_away() -> None:
    make("f", b"x", 0o755)
    os.chmod("f", 0o6755)
    with opened("f", os.O_WRONLY) as fd:
        write_all(fd, b"y")
        os.fsync(fd)
    same(mode_of("f"), 0o755)


@claim(ORDINARY)
def truncate_takes_setuid_and_setgid_away() -> None:
    make("f", b"content", 0o755)
    os.chmod("f", 0o6755)
    os.truncate("f", 3)
    same(mode_of("f"), 0o755)


@claim(ROOT)
def a_write_by_root_leaves_setuid_and_setgid() -> None:
    make("f", b"x", 0o755)
    os.chmod("f", 0o6755)
    with opened("f", os.O_WRONLY) as fd:
        write_all(fd, b"y")
        os.fsync(fd)
    same(mode_of("f"), 0o6755)


@claim()
def chown_to_oneself_takes_setuid_and_setgid_away() -> None:
    make("f", b"x", 0o755)
    os.chmod("f", 0o6755)
    os.chown("f", os.geteuid(), os.getegid())
    same(mode_of("f"), 0o755)


@claim()
def chown_to_oneself_works_for_every_kind() -> None:
    make("f")
    os.mkdir("d")
    os.mkfifo("p")
    os.symlink("f", "l")
    for name in ("f", "d", "p", "l"):
        os.chown(name, os.geteuid(), os.getegid(), follow_symlinks=False)
        st = os.lstat(name)
        same((st.st_uid, st.st_gid), (os.geteuid(), os.getegid()))


@claim()
def chown_to_oneself_moves_ctime() -> None:
    make("f")
    moves("f", "ctime", lambda: os.chown("f", os.geteuid(), os.getegid()))


@claim(ORDINARY)
def chown_to_another_is_EPERM() -> None:
    make("f")
    refused(EPERM, os.chown, "f", SOMEBODY, -1)
    refused(EPERM, os.chown, "f", -1, SOMEBODY)
    same(os.stat("f").st_uid, os.geteuid())


@claim(ORDINARY)
def a_closed_directory_is_neither_listed_nor_entered() -> None:
    os.mkdir("d")
    make("d/f")
    os.chmod("d", 0o000)
    refused(EACCES, os.listdir, "d")
    refused(EACCES, os.stat, "d/f")
    refused(EACCES, os.chdir, "d")


@claim(ORDINARY)
def a_directory_with_x_only_is_entered_and_not_listed() -> None:
    os.mkdir("d")
    make("d/f", b"x")
    os.chmod("d", 0o100)
    same(content("d/f"), b"x")
    refused(EACCES, os.listdir, "d")


@claim(ORDINARY)
def a_directory_with_r_only_is_listed_and_not_entered() -> None:
    os.mkdir("d")
    make("d/f")
    os.chmod("d", 0o400)
    same(os.listdir("d"), ["f"])
    refused(EACCES, os.stat, "d/f")


@claim(ORDINARY)
def access_of_a_directory_tells_each_of_its_bits() -> None:
    os.mkdir("d")
    for mode in range(8):
        os.chmod("d", mode << 6)
        said = [os.access("d", flag) for flag in (os.R_OK, os.W_OK, os.X_OK)]
        same(said, [bool(mode & bit) for bit in (4, 2, 1)], f"access of a directory of mode {mode}00")


@claim(ORDINARY)
def nothing_is_removed_from_an_unwritable_directory() -> None:
    os.makedirs("d/e")
    make("d/f")
    os.chmod("d", 0o500)
    refused(EACCES, os.unlink, "d/f")
    refused(EACCES, os.rmdir, "d/e")
    os.chmod("d", 0o700)
    same(sorted(os.listdir("d")), ["e", "f"])


@claim(ORDINARY)
def a_file_of_another_mode_in_an_unwritable_directory_is_still_written() -> None:
    os.mkdir("d")
    make("d/f")
    os.chmod("d", 0o500)
    with opened("d/f", os.O_WRONLY) as fd:
        write_all(fd, b"x")
    same(content("d/f"), b"x")


@claim(ROOT)
def chown_gives_a_file_away() -> None:
    make("f")
    os.chown("f", SOMEBODY, NOBODY)
    st = os.stat("f")
    same((st.st_uid, st.st_gid), (SOMEBODY, NOBODY))
