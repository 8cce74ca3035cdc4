"""utimensat by users: a time of one's own is for the owner, the clock's for who may write."""

from __future__ import annotations

import os
from errno import EACCES, EPERM
from functools import partial

from integration.posix.claims import USERS, register
from integration.posix.tools import (
    NOBODY,
    SOMEBODY,
    UTIME_NOW,
    UTIME_OMIT,
    as_user,
    make,
    refused,
    same,
    times,
    utimensat,
)

GIVEN, NOW, OMIT = (10**9, 5), (0, UTIME_NOW), (0, UTIME_OMIT)
Spec = tuple[int, int]

TIMES: dict[str, tuple[Spec, Spec]] = {
    "given_times": (GIVEN, GIVEN),
    "now": (NOW, NOW),
    "now_and_a_given_time": (NOW, GIVEN),
    "a_given_time_and_now": (GIVEN, NOW),
    "now_and_none": (NOW, OMIT),
    "none_and_now": (OMIT, NOW),
    "a_given_time_and_none": (GIVEN, OMIT),
    "none_and_a_given_time": (OMIT, GIVEN),
    "none": (OMIT, OMIT),
}


def _make(mode: int) -> None:
    make("f")
    os.chown("f", SOMEBODY, SOMEBODY)
    os.chmod("f", mode)


def _works(uid: int, mode: int, what: str) -> None:
    _make(mode)
    before = times("f")
    as_user(uid, utimensat, "f", *TIMES[what])
    after = times("f")
    for name, spec in zip(("atime", "mtime"), TIMES[what], strict=True):
        if spec == GIVEN:
            same(after[name], 10**18 + 5, name)
        elif spec == OMIT:
            same(after[name], before[name], name)
        else:
            same(after[name] >= before[name], True, f"{name} went on")


def _is_refused(uid: int, mode: int, what: str, number: int) -> None:
    _make(mode)
    before = times("f")
    refused(number, as_user, uid, utimensat, "f", *TIMES[what])
    same(times("f"), before, "times")


for _what in TIMES:
    register(__name__, f"the_owner_of_a_closed_file_sets_{_what}", partial(_works, SOMEBODY, 0, _what), USERS)
    register(__name__, f"root_sets_{_what}_of_a_foreign_file", partial(_works, 0, 0, _what), USERS)
    if _what in ("now", "none"):
        register(__name__, f"a_writer_sets_{_what}", partial(_works, NOBODY, 0o666, _what), USERS)
    else:
        register(__name__, f"a_writer_may_not_set_{_what}", partial(_is_refused, NOBODY, 0o666, _what, EPERM), USERS)
    if _what == "none":
        register(__name__, "a_reader_sets_none", partial(_works, NOBODY, 0o644, _what), USERS)
    else:
        register(
            __name__,
            f"a_reader_may_not_set_{_what}",
            partial(_is_refused, NOBODY, 0o644, _what, EACCES if _what == "now" else EPERM),
            USERS,
        )
