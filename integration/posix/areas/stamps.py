"""utimensat, and which of atime, mtime and ctime each call moves."""

from __future__ import annotations

import os
from collections.abc import Callable

from integration.posix.claims import NotHere, claim, register
from integration.posix.tools import (
    UTIME_NOW,
    UTIME_OMIT,
    after_tick,
    content,
    holds,
    make,
    moves,
    opened,
    refused,
    same,
    times,
    utimensat,
    write_all,
)

SECOND = 10**9


def _setup() -> None:
    make("f", b"content")
    os.mkdir("d")
    make("d/g")
    os.mkdir("d/e")


def _written() -> None:
    with opened("f", os.O_WRONLY) as fd:
        write_all(fd, b"new")


def _appended() -> None:
    with opened("f", os.O_WRONLY | os.O_APPEND) as fd:
        write_all(fd, b"new")


def _ftruncated() -> None:
    with opened("f", os.O_WRONLY) as fd:
        os.ftruncate(fd, 2)


MOVES: dict[str, tuple[str, str, Callable[[], object]]] = {
    "write": ("f", "mtime ctime", _written),
    "append": ("f", "mtime ctime", _appended),
    "truncate_to_less": ("f", "mtime ctime", lambda: os.truncate("f", 2)),
    "truncate_to_more": ("f", "mtime ctime", lambda: os.truncate("f", 200)),
    "ftruncate": ("f", "mtime ctime", _ftruncated),
    "chmod": ("f", "ctime", lambda: os.chmod("f", 0o600)),
    "chmod_to_the_same": ("f", "ctime", lambda: os.chmod("f", 0o644)),
    "link_the_file": ("f", "ctime", lambda: os.link("f", "new")),
    "link_into_the_directory": ("d", "mtime ctime", lambda: os.link("f", "d/new")),
    "create_in_the_directory": ("d", "mtime ctime", lambda: make("d/new")),
    "mkdir_in_the_directory": ("d", "mtime ctime", lambda: os.mkdir("d/new")),
    "unlink_in_the_directory": ("d", "mtime ctime", lambda: os.unlink("d/g")),
    "rmdir_in_the_directory": ("d", "mtime ctime", lambda: os.rmdir("d/e")),
    "rename_in_the_directory": ("d", "mtime ctime", lambda: os.rename("d/g", "d/h")),
    "write_to_a_file_in_the_directory": ("d", "", lambda: make("f2", b"x")),
    "read_the_file": ("f", "", lambda: content("f")),
    "stat_the_file": ("f", "", lambda: os.stat("f")),
    "open_the_file_for_writing": ("f", "", lambda: os.close(os.open("f", os.O_RDWR))),
    "list_the_directory": ("d", "", lambda: os.listdir("d")),
    "look_for_a_missing_name_in_the_directory": ("d", "", lambda: os.path.exists("d/missing")),
    "fail_to_create_in_the_directory": ("d", "", lambda: refused(17, os.mkdir, "d/g")),
}


def _moved(path: str, wanted: str, action: Callable[[], object]) -> None:
    _setup()
    moves(path, wanted, action)


def _register() -> None:
    from functools import partial

    for name, (path, wanted, action) in MOVES.items():
        what = wanted.replace(" ", "_and_") or "neither_mtime_nor_ctime"
        register(__name__, f"to_{name}_moves_{what}", partial(_moved, path, wanted, action))


_register()


@claim()
def times_are_kept_to_the_nanosecond() -> None:
    make("f")
    for nanoseconds in (0, 1, 999_999_999, 123_456_789):
        os.utime("f", ns=(1_500_000_000 * SECOND + nanoseconds, 1_600_000_000 * SECOND + nanoseconds))
        st = os.stat("f")
        same((st.st_atime_ns % SECOND, st.st_mtime_ns % SECOND), (nanoseconds, nanoseconds))


@claim()
def times_far_away_are_kept() -> None:
    make("f")
    for second in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        os.utime("f", (second, second))
        same((os.stat("f").st_atime, os.stat("f").st_mtime), (second, second))


@claim()
def times_before_1970_are_kept() -> None:
    make("f")
    os.utime("f", (-1, -86400))
    same((os.stat("f").st_atime, os.stat("f").st_mtime), (-1, -86400))


@claim()
def utime_moves_ctime() -> None:
    make("f")
    after_tick("f")
    before = times("f")["ctime"]
    os.utime("f", (1, 1))
    holds(times("f")["ctime"] > before, "ctime should have moved")


@claim()
def utime_to_now_is_the_clock_files_are_made_by() -> None:
    make("f")
    os.utime("f", (1, 1))
    make("before")
    os.utime("f")
    make("after")
    st = os.stat("f")
    low, high = os.stat("before").st_mtime_ns, os.stat("after").st_mtime_ns
    holds(low <= st.st_mtime_ns <= high, f"mtime {st.st_mtime_ns} should be between {low} and {high}")
    holds(low <= st.st_atime_ns <= high, f"atime {st.st_atime_ns} should be between {low} and {high}")


@claim()
def one_time_can_be_set_and_the_other_left() -> None:
    make("f")
    os.utime("f", (10, 20))
    utimensat("f", (0, UTIME_OMIT), (33, 44))
    same((os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns), (10 * SECOND, 33 * SECOND + 44))
    utimensat("f", (55, 66), (0, UTIME_OMIT))
    same((os.stat("f").st_atime_ns, os.stat("f").st_mtime_ns), (55 * SECOND + 66, 33 * SECOND + 44))


@claim()
def one_time_can_be_now_and_the_other_given() -> None:
    make("f")
    make("before")
    utimensat("f", (5, 0), (0, UTIME_NOW))
    same(os.stat("f").st_atime_ns, 5 * SECOND)
    holds(os.stat("f").st_mtime_ns >= os.stat("before").st_mtime_ns, "mtime should be now")


@claim()
def a_symlinks_own_times_are_set() -> None:
    make("f")
    os.utime("f", (1, 1))
    os.symlink("f", "l")
    os.utime("l", (100, 200), follow_symlinks=False)
    same((os.lstat("l").st_mtime, os.stat("f").st_mtime), (200, 1))


@claim()
def a_closed_files_times_are_set_by_its_owner() -> None:
    make("f", mode=0o000)
    os.utime("f", (1, 2))
    same(os.stat("f").st_mtime, 2)
    os.utime("f")


@claim()
def times_set_on_a_descriptor_with_unwritten_data_stay() -> None:
    """As tar, rsync and cp -p do: write, set the time, close."""
    with opened("f", os.O_CREAT | os.O_WRONLY) as fd:
        write_all(fd, b"x" * 100_000)
        os.utime(fd, (1000, 2000))
    same(os.stat("f").st_mtime, 2000)


@claim()
def times_set_after_close_stay_after_a_read() -> None:
    make("f", b"x" * 10_000)
    os.utime("f", (1000, 2000))
    content("f")
    same(os.stat("f").st_mtime, 2000)


@claim()
def a_directorys_times_are_kept_after_its_entries_were_made() -> None:
    os.mkdir("d")
    make("d/f")
    os.utime("d", (1000, 2000))
    os.listdir("d")
    same(os.stat("d").st_mtime, 2000)


@claim()
def a_file_made_later_is_not_older() -> None:
    """What make relies on."""
    last = 0
    for number in range(20):
        make(f"f{number}", b"x")
        now = os.stat(f"f{number}").st_mtime_ns
        holds(now >= last, f"f{number} is {last - now} ns older than the one before")
        last = now


@claim()
def a_write_after_a_tick_makes_a_file_newer_than_another() -> None:
    make("source")
    make("product")
    after_tick("source", "product")
    with opened("source", os.O_WRONLY) as fd:
        write_all(fd, b"changed")
    holds(os.stat("source").st_mtime_ns > os.stat("product").st_mtime_ns, "the source should be newer")


@claim()
def a_write_through_a_descriptor_is_in_fstats_mtime_at_once() -> None:
    make("f")
    after_tick("f")
    before = times("f")["mtime"]
    with opened("f", os.O_WRONLY) as fd:
        write_all(fd, b"x")
        holds(os.fstat(fd).st_mtime_ns > before, "mtime should have moved before close")


@claim()
def an_empty_write_moves_nothing() -> None:
    make("f", b"x")

    def write_nothing() -> None:
        with opened("f", os.O_WRONLY) as fd:
            os.write(fd, b"")

    moves("f", "", write_nothing)


@claim()
def a_read_past_a_change_moves_atime() -> None:
    """relatime: the first read after a write does."""
    if os.statvfs(".").f_flag & os.ST_NOATIME:
        raise NotHere("mounted with noatime")
    make("f", b"x")
    after_tick("f")
    with opened("f", os.O_WRONLY) as fd:
        write_all(fd, b"y")
    before = times("f")["atime"]
    after_tick("f")
    content("f")
    holds(times("f")["atime"] > before, "atime should have moved")
