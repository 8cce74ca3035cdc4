"""flock, fcntl and open-file-description locks between processes of one machine (mounts are `nolock`: local)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from errno import EACCES, EAGAIN, EBADF

from integration.posix.claims import claim
from integration.posix.tools import in_child, make, opened, refused, same, together

BUSY = (EAGAIN, EACCES)
TURNS = 25


def _flock(path: str, how: int) -> None:
    with opened(path, os.O_RDWR) as fd:
        fcntl.flock(fd, how | fcntl.LOCK_NB)


def _lockf(path: str, how: int, length: int = 0, start: int = 0) -> None:
    with opened(path, os.O_RDWR) as fd:
        fcntl.lockf(fd, how | fcntl.LOCK_NB, length, start)


@claim()
def flock_keeps_another_process_out_until_unlocked() -> None:
    make("f")
    with opened("f", os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        refused(BUSY, in_child, _flock, "f", fcntl.LOCK_EX)
        refused(BUSY, in_child, _flock, "f", fcntl.LOCK_SH)
        fcntl.flock(fd, fcntl.LOCK_UN)
        in_child(_flock, "f", fcntl.LOCK_EX)


@claim()
def flock_shared_lets_readers_in() -> None:
    make("f")
    with opened("f", os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_SH)
        in_child(_flock, "f", fcntl.LOCK_SH)
        refused(BUSY, in_child, _flock, "f", fcntl.LOCK_EX)


@claim()
def flock_ends_with_its_last_descriptor() -> None:
    make("f")
    with opened("f", os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
    in_child(_flock, "f", fcntl.LOCK_EX)


@claim()
def flock_works_on_a_file_opened_for_reading() -> None:
    make("f")
    with opened("f") as fd:
        fcntl.flock(fd, fcntl.LOCK_SH)


@claim()
def flock_exclusive_works_on_a_file_opened_for_reading() -> None:
    make("f")
    with opened("f") as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)


@claim()
def flock_works_on_a_directory() -> None:
    os.mkdir("d")
    with opened("d", os.O_RDONLY | os.O_DIRECTORY) as fd:
        fcntl.flock(fd, fcntl.LOCK_SH)


@claim()
def a_fcntl_lock_keeps_another_process_out_of_its_range_only() -> None:
    make("f", bytes(100))
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 20)
        refused(BUSY, in_child, _lockf, "f", fcntl.LOCK_EX, 1, 25)
        in_child(_lockf, "f", fcntl.LOCK_EX, 20, 0)
        in_child(_lockf, "f", fcntl.LOCK_EX, 10, 30)


@claim()
def fcntl_read_locks_share_and_exclude_writers() -> None:
    make("f", bytes(100))
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_SH, 10)
        in_child(_lockf, "f", fcntl.LOCK_SH, 10)
        refused(BUSY, in_child, _lockf, "f", fcntl.LOCK_EX, 10)


@claim()
def a_fcntl_lock_beyond_the_end_of_the_file_holds() -> None:
    """As sqlite locks."""
    make("f")
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1 << 30)
        refused(BUSY, in_child, _lockf, "f", fcntl.LOCK_EX, 1, 1 << 30)


@claim()
def a_fcntl_lock_goes_with_any_close_of_its_process() -> None:
    make("f")
    with opened("f", os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.close(os.open("f", os.O_RDONLY))
        in_child(_lockf, "f", fcntl.LOCK_EX)


@claim()
def a_lock_for_writing_needs_a_descriptor_for_writing() -> None:
    make("f")
    with opened("f", os.O_RDONLY) as fd:
        refused(EBADF, fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@claim()
def a_lock_ends_with_its_process() -> None:
    make("f")

    def lock_and_die() -> None:
        fcntl.lockf(os.open("f", os.O_RDWR), fcntl.LOCK_EX)
        os._exit(0)

    with contextlib.suppress(AssertionError):  # it ends without a word, as it should
        in_child(lock_and_die)
    _lockf("f", fcntl.LOCK_EX)


@claim()
def a_counter_under_flock_loses_no_turn() -> None:
    make("f", b"0")

    def count() -> None:
        for _ in range(TURNS):
            with opened("f", os.O_RDWR) as fd:
                fcntl.flock(fd, fcntl.LOCK_EX)
                number = int(os.pread(fd, 20, 0))
                os.pwrite(fd, b"%d" % (number + 1), 0)

    together(count, count)
    with open("f", "rb") as file:
        same(int(file.read()), 2 * TURNS)


@claim()
def a_counter_under_fcntl_loses_no_turn() -> None:
    make("f", b"0")

    def count() -> None:
        for _ in range(TURNS):
            with opened("f", os.O_RDWR) as fd:
                fcntl.lockf(fd, fcntl.LOCK_EX)
                number = int(os.pread(fd, 20, 0))
                os.pwrite(fd, b"%d" % (number + 1), 0)

    together(count, count)
    with open("f", "rb") as file:
        same(int(file.read()), 2 * TURNS)


@claim()
def a_lock_on_an_unlinked_file_is_no_lock_on_its_successor() -> None:
    make("f")
    with opened("f", os.O_RDWR) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.unlink("f")
        make("f")
        _flock("f", fcntl.LOCK_EX)
