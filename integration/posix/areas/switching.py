"""One process that becomes another user on the way: what it holds open stays, what it asks for is asked as him."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EEXIST, EPERM

from integration.posix.claims import USERS, claim
from integration.posix.tools import (
    NOBODY,
    SOMEBODY,
    content,
    exists,
    libc,
    make,
    mode_of,
    opened,
    refused,
    same,
    write_all,
)


@contextmanager
def being(uid: int, *groups: int) -> Iterator[None]:
    """This very process, as that user, and root again afterwards."""
    os.setgroups(list(groups))
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


@claim(USERS)
def a_descriptor_opened_by_root_is_used_by_whom_he_becomes() -> None:
    make("f", b"secret", 0o600)
    with opened("f", os.O_RDWR) as fd, being(SOMEBODY):
        same(os.pread(fd, 10, 0), b"secret")
        os.pwrite(fd, b"SECRET", 0)
        os.fsync(fd)
        refused(EACCES, os.open, "f", os.O_RDONLY)
    same(content("f"), b"SECRET")


@claim(USERS)
def a_descriptor_opened_by_root_for_writing_is_flushed_by_whom_he_becomes() -> None:
    with opened("f", os.O_WRONLY | os.O_CREAT, 0o600) as fd:
        write_all(fd, b"a" * 100_000)
        with being(SOMEBODY):
            write_all(fd, b"b" * 100_000)
            os.fsync(fd)
    same((len(content("f")), os.stat("f").st_uid), (200_000, 0))


@claim(USERS)
def what_is_made_is_whose_the_process_is_at_the_time() -> None:
    os.chmod(".", 0o777)
    for uid in (0, SOMEBODY, NOBODY, 0, SOMEBODY):
        with being(uid):
            make(f"f{uid}") if not exists(f"f{uid}") else os.utime(f"f{uid}")
            os.mkdir(f"d{uid}") if not exists(f"d{uid}") else os.chmod(f"d{uid}", 0o700)
    for uid in (0, SOMEBODY, NOBODY):
        same((os.stat(f"f{uid}").st_uid, os.stat(f"d{uid}").st_uid), (uid, uid))


@claim(USERS)
def an_owner_goes_on_with_an_open_file_that_root_closed_to_all() -> None:
    make("f", b"text")
    os.chown("f", SOMEBODY, SOMEBODY)
    with being(SOMEBODY):
        fd = os.open("f", os.O_RDWR)
    os.chmod("f", 0)
    with being(SOMEBODY):
        same(os.pread(fd, 10, 0), b"text")
        os.pwrite(fd, b"TEXT", 0)
        os.fsync(fd)
        refused(EACCES, os.open, "f", os.O_RDONLY)
    same(content("f"), b"TEXT")


@claim(USERS)
def another_goes_on_reading_an_open_file_that_was_closed_to_him() -> None:
    make("f", b"text" * 50_000)
    with being(NOBODY):
        fd = os.open("f", os.O_RDONLY)
    os.chmod("f", 0o600)
    with being(NOBODY):
        same(os.pread(fd, 4, 199_996), b"text")


@claim(USERS)
def another_goes_on_writing_an_open_file_that_was_closed_to_him() -> None:
    make("f", b"text", 0o666)
    with being(NOBODY):
        fd = os.open("f", os.O_WRONLY)
    os.chmod("f", 0o600)
    try:
        with being(NOBODY):
            write_all(fd, b"TEXT")
            os.fsync(fd)
    except OSError:
        with suppress(OSError):
            libc("syncfs", fd)  # who syncs the whole is told of it once more: here, and not in the next claim
        raise
    same(content("f"), b"TEXT")


@claim(USERS)
def rights_given_and_taken_count_at_the_next_open() -> None:
    make("f", b"x", 0o600)
    for _ in range(3):
        with being(NOBODY):
            refused(EACCES, os.open, "f", os.O_RDONLY)
        os.chmod("f", 0o644)
        with being(NOBODY):
            same(content("f"), b"x")
        os.chmod("f", 0o600)


@claim(USERS)
def a_file_given_away_and_back_is_opened_by_whose_it_is() -> None:
    make("f", b"x", 0o600)
    for owner, other in ((SOMEBODY, NOBODY), (NOBODY, SOMEBODY), (SOMEBODY, NOBODY)):
        os.chown("f", owner, owner)
        with being(owner):
            same(content("f"), b"x")
        with being(other):
            refused(EACCES, os.open, "f", os.O_RDONLY)


@claim(USERS)
def what_root_looked_up_is_not_found_by_who_may_not_search() -> None:
    os.mkdir("d", 0o700)
    make("d/f", b"x")
    same(content("d/f"), b"x")
    with being(NOBODY):
        refused(EACCES, os.stat, "d/f")
        refused(EACCES, os.stat, "d/missing")
    same(exists("d/f"), True)


@claim(USERS)
def what_one_may_not_do_another_does_next() -> None:
    os.mkdir("d", 0o755)
    os.chown("d", SOMEBODY, SOMEBODY)
    for name in "abc":
        with being(NOBODY):
            refused(EACCES, make, f"d/{name}")
        with being(SOMEBODY):
            make(f"d/{name}")
        with being(NOBODY):
            refused(EACCES, os.unlink, f"d/{name}")
        with being(SOMEBODY):
            os.unlink(f"d/{name}")
    same(os.listdir("d"), [])


@claim(USERS)
def a_group_joined_in_the_middle_counts_at_once() -> None:
    make("f", b"x", 0o040)
    os.chown("f", SOMEBODY, 777)
    for _ in range(3):
        with being(NOBODY):
            refused(EACCES, os.open, "f", os.O_RDONLY)
        with being(NOBODY, 777):
            same(content("f"), b"x")


@claim(USERS)
def two_users_write_one_file_by_turns() -> None:
    make("f", b"", 0o666)
    for turn in range(20):
        with being(SOMEBODY if turn % 2 else NOBODY), opened("f", os.O_WRONLY | os.O_APPEND) as fd:
            write_all(fd, b"%02d" % turn)
    same(content("f"), b"".join(b"%02d" % turn for turn in range(20)))


@claim(USERS)
def a_working_directory_closed_behind_its_user_is_left_by_dot_dot_no_more() -> None:
    os.mkdir("d", 0o755)
    os.chdir("d")
    make("f", b"x", 0o644)
    os.chmod(".", 0o700)
    with being(NOBODY):
        refused(EACCES, os.stat, "f")
        refused(EACCES, os.listdir, ".")
    os.chmod(".", 0o755)
    with being(NOBODY):
        same(content("f"), b"x")
    os.chdir("..")


@claim(USERS)
def only_the_owner_of_the_moment_changes_a_mode() -> None:
    make("f")
    for owner, other, mode in ((SOMEBODY, NOBODY, 0o640), (NOBODY, SOMEBODY, 0o604)):
        os.chown("f", owner, owner)
        with being(other):
            refused(EPERM, os.chmod, "f", 0o777)
        with being(owner):
            os.chmod("f", mode)
        same(mode_of("f"), mode)


@claim(USERS)
def a_file_open_for_one_is_renamed_and_removed_by_another() -> None:
    os.chmod(".", 0o777)
    make("f", b"text")
    with being(SOMEBODY):
        fd = os.open("f", os.O_RDONLY)
    with being(NOBODY):
        os.rename("f", "g")
        os.unlink("g")
    with being(SOMEBODY):
        same(os.pread(fd, 10, 0), b"text")
    same(exists("g"), False)


@claim(USERS)
def a_users_lock_file_keeps_others_out() -> None:
    os.chmod(".", 0o777)
    with being(SOMEBODY):
        os.close(os.open("lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with being(NOBODY):
        refused(EACCES, os.open, "lock", os.O_WRONLY)
        refused(EEXIST, os.open, "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
