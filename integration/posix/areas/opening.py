"""open: its flags, what it refuses, and what a descriptor keeps when the name or the mode changes."""

from __future__ import annotations

import os
import stat
from errno import (
    EACCES,
    EBADF,
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    ENOENT,
    ENOTDIR,
    EPERM,
)

from integration.posix.claims import ORDINARY, ROOT, claim
from integration.posix.tools import (
    content,
    exists,
    holds,
    make,
    mode_of,
    moves,
    opened,
    refused,
    same,
    together,
    write_all,
)

CREATE = os.O_CREAT | os.O_WRONLY
RACERS = 4
APPENDERS = 3
APPENDS = 50


@claim()
def create_makes_an_empty_file_of_the_callers() -> None:
    os.close(os.open("f", CREATE, 0o640))
    st = os.stat("f")
    same((st.st_size, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), (0, 0o640, os.geteuid(), os.getegid()))


@claim()
def create_of_a_file_that_is_there_changes_nothing() -> None:
    make("f", b"content", 0o600)
    moves("f", "", lambda: os.close(os.open("f", CREATE, 0o777)))
    same((content("f"), mode_of("f")), (b"content", 0o600))


@claim()
def exclusive_create_makes_a_file_with_its_mode_and_current_times() -> None:
    """Over NFSv3 the verifier of an exclusive create may sit in the times until the client sets them."""
    make("before")
    os.close(os.open("f", CREATE | os.O_EXCL, 0o640))
    st, before = os.stat("f"), os.stat("before")
    same(stat.S_IMODE(st.st_mode), 0o640, "mode")
    for name, value, least in (
        ("mtime", st.st_mtime_ns, before.st_mtime_ns),
        ("atime", st.st_atime_ns, before.st_atime_ns),
    ):
        holds(least <= value < least + 3600 * 10**9, f"{name} should be now, is {value} ns")


@claim()
def exclusive_create_of_every_mode_has_it() -> None:
    for mode in (0o000, 0o400, 0o444, 0o600, 0o644, 0o755, 0o777):
        os.close(os.open(f"f{mode:o}", CREATE | os.O_EXCL, mode))
        same(mode_of(f"f{mode:o}"), mode & ~0o022, "mode")


@claim()
def exclusive_create_is_won_by_one_of_many() -> None:
    def race() -> None:
        for number in range(20):
            try:
                with opened(f"race{number}", CREATE | os.O_EXCL) as fd:
                    write_all(fd, b"%d\n" % os.getpid())
            except FileExistsError:
                pass

    together(*[race] * RACERS)
    for number in range(20):
        same(content(f"race{number}").count(b"\n"), 1, "winners")


@claim()
def a_file_created_read_only_is_written_through_its_descriptor() -> None:
    with opened("f", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o400) as fd:
        write_all(fd, b"still written")
        os.ftruncate(fd, 5)
    same((content("f"), mode_of("f")), (b"still", 0o400))


@claim()
def a_file_created_with_mode_0_is_written_through_its_descriptor() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR, 0o000) as fd:
        write_all(fd, b"written")
        same(os.pread(fd, 100, 0), b"written")
    os.chmod("f", 0o400)
    same(content("f"), b"written")


@claim()
def a_descriptor_keeps_what_it_was_opened_for() -> None:
    make("f", b"x", 0o600)
    with opened("f", os.O_RDWR) as fd:
        os.chmod("f", 0o000)
        os.pwrite(fd, b"y", 0)
        same(os.pread(fd, 1, 0), b"y")
        os.ftruncate(fd, 0)
        os.fsync(fd)
    os.chmod("f", 0o600)
    same(content("f"), b"")


@claim()
def truncate_on_open_empties_and_moves_times() -> None:
    make("f", b"content")
    moves("f", "mtime ctime", lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC)))
    same((content("f"), os.stat("f").st_size), (b"", 0))


@claim()
def truncate_on_open_is_seen_by_who_has_it_open() -> None:
    make("f", b"content")
    with opened("f") as fd:
        os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))
        same((os.pread(fd, 10, 0), os.fstat(fd).st_size), (b"", 0))


@claim()
def create_and_truncate_keep_the_mode_and_inode() -> None:
    make("f", b"content", 0o640)
    inode = os.stat("f").st_ino
    os.close(os.open("f", CREATE | os.O_TRUNC, 0o777))
    same((os.stat("f").st_ino, mode_of("f"), content("f")), (inode, 0o640, b""))


@claim()
def append_writes_at_the_end_wherever_the_offset_is() -> None:
    make("f", b"start")
    with opened("f", os.O_RDWR | os.O_APPEND) as fd:
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(fd, b"+end")
        same(os.lseek(fd, 0, os.SEEK_CUR), 9, "offset")
    same(content("f"), b"start+end")


@claim()
def append_follows_what_another_descriptor_wrote() -> None:
    make("f")
    with opened("f", os.O_WRONLY | os.O_APPEND) as one, opened("f", os.O_WRONLY | os.O_APPEND) as two:
        for number in range(6):
            write_all(one if number % 2 else two, b"%d" % number)
    same(content("f"), b"012345")


@claim()
def appends_of_several_processes_lose_nothing() -> None:
    make("f")

    def append() -> None:
        with opened("f", os.O_WRONLY | os.O_APPEND) as fd:
            for _ in range(APPENDS):
                write_all(fd, b"0123456789\n")

    together(*[append] * APPENDERS)
    same(content("f"), b"0123456789\n" * (APPENDERS * APPENDS))


@claim()
def directory_flag_refuses_files_and_takes_directories() -> None:
    make("f")
    os.mkdir("d")
    refused(ENOTDIR, os.open, "f", os.O_RDONLY | os.O_DIRECTORY)
    os.close(os.open("d", os.O_RDONLY | os.O_DIRECTORY))


@claim()
def nofollow_refuses_a_symlink_at_the_end_only() -> None:
    os.mkdir("d")
    make("d/f", b"x")
    os.symlink("d/f", "to_file")
    os.symlink("d", "to_directory")
    refused(ELOOP, os.open, "to_file", os.O_RDONLY | os.O_NOFOLLOW)
    with opened("to_directory/f", os.O_RDONLY | os.O_NOFOLLOW) as fd:
        same(os.read(fd, 1), b"x")


@claim()
def a_directory_is_not_opened_for_writing() -> None:
    os.mkdir("d")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        refused(EISDIR, os.open, "d", flags)
    refused(EISDIR, os.open, "d", CREATE, 0o644)


@claim()
def a_directory_is_not_read_as_a_file() -> None:
    os.mkdir("d")
    with opened("d") as fd:
        refused(EISDIR, os.read, fd, 10)
        refused((EBADF, EISDIR), os.write, fd, b"x")
        refused((EINVAL, EBADF, EISDIR), os.ftruncate, fd, 0)


@claim()
def exclusive_create_of_a_directory_is_EEXIST() -> None:
    os.mkdir("d")
    refused(EEXIST, os.open, "d", CREATE | os.O_EXCL, 0o644)


@claim()
def a_name_with_a_trailing_slash_is_no_file() -> None:
    make("f")
    refused(ENOTDIR, os.open, "f/", os.O_RDONLY)
    refused(EISDIR, os.open, "new/", CREATE, 0o644)
    same(exists("new"), False, "the name exists")


@claim()
def a_reader_does_not_write_and_a_writer_does_not_read() -> None:
    make("f", b"x")
    with opened("f", os.O_RDONLY) as fd:
        refused(EBADF, os.write, fd, b"y")
        refused((EINVAL, EBADF), os.ftruncate, fd, 0)
    with opened("f", os.O_WRONLY) as fd:
        refused(EBADF, os.read, fd, 1)


@claim()
def path_flag_names_without_opening() -> None:
    make("f", b"x", 0o000)
    with opened("f", os.O_PATH) as fd:
        same(os.fstat(fd).st_size, 1)
        refused(EBADF, os.read, fd, 1)


@claim()
def an_unnamed_file_is_made_by_tmpfile() -> None:
    with opened(".", os.O_TMPFILE | os.O_RDWR, 0o600) as fd:
        write_all(fd, b"x")
        same(os.fstat(fd).st_nlink, 0)
    same(os.listdir("."), [])


@claim()
def direct_reads_and_writes_have_the_same_bytes() -> None:
    import mmap

    block = mmap.mmap(-1, 8192)
    block.write(b"direct!!" * 1024)
    with opened("f", os.O_CREAT | os.O_RDWR | os.O_DIRECT) as fd:
        same(os.pwrite(fd, block, 0), 8192)
        back = mmap.mmap(-1, 8192)
        same(os.preadv(fd, [back], 0), 8192)
        same(back[:], block[:])
    same(content("f"), block[:])


@claim()
def synchronous_writes_are_there() -> None:
    for flag in (os.O_SYNC, os.O_DSYNC):
        with opened(f"f{flag}", os.O_CREAT | os.O_WRONLY | flag) as fd:
            for _ in range(5):
                write_all(fd, b"synced")
        same(content(f"f{flag}"), b"synced" * 5)


@claim()
def open_relative_to_a_directory_descriptor_works() -> None:
    os.makedirs("d/e")
    with opened("d", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.close(os.open("e/f", CREATE, 0o644, dir_fd=fd))
        os.rename("e/f", "g", src_dir_fd=fd, dst_dir_fd=fd)
        same(sorted(os.listdir(fd)), ["e", "g"])
        os.unlink("g", dir_fd=fd)


@claim()
def hundreds_of_files_are_open_at_once() -> None:
    fds = [os.open(f"f{number}", os.O_CREAT | os.O_RDWR, 0o644) for number in range(300)]
    for number, fd in enumerate(fds):
        os.write(fd, b"%d" % number)
    for number, fd in enumerate(fds):
        same(os.pread(fd, 10, 0), b"%d" % number)
        os.close(fd)


@claim(ORDINARY)
def read_and_write_bits_decide_who_opens() -> None:
    wanted = {0o000: "", 0o100: "", 0o200: "w", 0o400: "r", 0o600: "rw"}
    for mode, may in wanted.items():
        make(f"f{mode:o}", mode=mode)
        for flags, needs in ((os.O_RDONLY, "r"), (os.O_WRONLY, "w"), (os.O_RDWR, "rw")):
            if set(needs) <= set(may):
                os.close(os.open(f"f{mode:o}", flags))
            else:
                refused(EACCES, os.open, f"f{mode:o}", flags)


@claim(ORDINARY)
def the_owner_is_held_by_the_owners_bits_not_the_others() -> None:
    make("f", mode=0o077)
    refused(EACCES, os.open, "f", os.O_RDONLY)
    refused(EACCES, os.open, "f", os.O_WRONLY)


@claim(ORDINARY)
def truncate_on_open_needs_the_write_bit() -> None:
    make("f", b"content", 0o444)
    refused(EACCES, os.open, "f", os.O_RDONLY | os.O_TRUNC)
    refused(EACCES, os.open, "f", os.O_WRONLY | os.O_TRUNC)
    same(content("f"), b"content")


@claim(ORDINARY)
def create_of_a_file_that_may_not_be_written_is_EACCES() -> None:
    make("f", b"content", 0o444)
    refused(EACCES, os.open, "f", CREATE, 0o644)


@claim(ORDINARY)
def create_of_a_file_that_is_there_needs_no_writable_directory() -> None:
    os.mkdir("d")
    make("d/f")
    os.chmod("d", 0o500)
    os.close(os.open("d/f", CREATE, 0o644))


@claim(ORDINARY)
def access_tells_what_open_does() -> None:
    for mode in range(0o000, 0o1000, 0o100):
        make(f"f{mode:o}", mode=mode)
        for bit, way in ((0o400, os.R_OK), (0o200, os.W_OK), (0o100, os.X_OK)):
            same(os.access(f"f{mode:o}", way), bool(mode & bit), f"access({mode:o}, {way})")


@claim(ROOT)
def root_reads_and_writes_whatever_the_mode() -> None:
    make("f", b"x", 0o000)
    with opened("f", os.O_RDWR) as fd:
        os.pwrite(fd, b"y", 0)
    same(content("f"), b"y")
    os.mkdir("d", 0o000)
    make("d/f")
    same(os.listdir("d"), ["f"])


@claim(ORDINARY)
def noatime_is_for_the_owner() -> None:
    make("f", b"x")
    with opened("f", os.O_RDONLY | os.O_NOATIME) as fd:
        same(os.read(fd, 1), b"x")
    refused((EPERM, EACCES, ENOENT), os.open, "/etc/hostname", os.O_RDONLY | os.O_NOATIME)
