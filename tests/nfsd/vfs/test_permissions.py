"""The rules of permission as a table: what POSIX says of one file, two ids and a caller."""

from __future__ import annotations

import errno

import pytest

from nfsd.vfs.interface import NOW, Caller, Changes
from nfsd.vfs.permissions import granted, in_group, refuse_changes, without_set_id

FILE, DIRECTORY = 0o100000, 0o040000
IDS = (1000, 100)
OWNER, MEMBER, EXTRA, OTHER, ROOT = (
    Caller(1000, 5),
    Caller(1001, 100),
    Caller(1001, 5, (7, 100)),
    Caller(1001, 5, (7,)),
    Caller(0, 0),
)


@pytest.mark.parametrize(
    ("caller", "may"), [(OWNER, 0o4), (MEMBER, 0o2), (EXTRA, 0o2), (OTHER, 0o1), (ROOT, 0o7)], ids=str
)
def test_only_the_first_class_that_fits_counts(caller: Caller, may: int) -> None:
    assert granted(FILE | 0o421, IDS, caller) == may


def test_the_superuser_runs_what_somebody_may_run_and_searches_everything() -> None:
    assert [granted(FILE | mode, IDS, ROOT) for mode in (0, 0o666, 0o001, 0o010, 0o100)] == [6, 6, 7, 7, 7]
    assert granted(DIRECTORY, IDS, ROOT) == 7


def test_a_member_is_who_has_the_group_first_or_among_others_or_is_the_superuser() -> None:
    assert [in_group(caller, 100) for caller in (OWNER, MEMBER, EXTRA, OTHER, ROOT)] == [False, True, True, False, True]


GIVEN = Changes(atime_ns=1, mtime_ns=1)
TOUCH = Changes(atime_ns=NOW, mtime_ns=NOW)
ONE = Changes(mtime_ns=NOW)
CUT = Changes(size=0, mtime_ns=NOW)


@pytest.mark.parametrize(
    ("caller", "may", "changes", "refusal"),
    [
        (OWNER, 0, Changes(mode=0o777), 0),
        (OWNER, 0, Changes(uid=1000, gid=100), 0),
        (OWNER, 0, Changes(gid=5), 0),
        (OWNER, 0, Changes(gid=6), errno.EPERM),
        (OWNER, 0, Changes(uid=1001), errno.EPERM),
        (OWNER, 0, GIVEN, 0),
        (OWNER, 0, CUT, 0),
        (OTHER, 7, Changes(mode=0o777), errno.EPERM),
        (OTHER, 7, Changes(uid=1000), errno.EPERM),
        (OTHER, 7, Changes(gid=100), errno.EPERM),
        (OTHER, 7, GIVEN, errno.EPERM),
        (OTHER, 7, ONE, errno.EPERM),
        (OTHER, 7, TOUCH, 0),
        (OTHER, 5, TOUCH, errno.EACCES),
        (OTHER, 7, Changes(size=0), 0),
        (OTHER, 7, CUT, 0),
        (OTHER, 5, CUT, errno.EACCES),
    ],
)
def test_what_may_be_changed_is_the_owners_or_a_writers_affair(
    caller: Caller, may: int, changes: Changes, refusal: int
) -> None:
    try:
        refuse_changes(IDS, may, caller, changes)
        found = 0
    except OSError as error:
        found = error.errno or -1
    assert found == refusal


def test_setgid_without_group_execute_is_no_privilege() -> None:
    assert [without_set_id(mode) for mode in (0o6755, 0o4644, 0o2745, 0o1777)] == [0o755, 0o644, 0o2745, 0o1777]
    assert [without_set_id(mode, member=False) for mode in (0o2745, 0o2644)] == [0o745, 0o644]
