"""Setgid: directories that give their group to what is made in them, and the bit's loss by who is not in the group."""

from __future__ import annotations

import os
from functools import partial

from integration.posix.claims import USERS, claim, register
from integration.posix.tools import KINDS, NOBODY, SOMEBODY, as_user, make, mode_of, opened, same, write_all

GROUP = 777


def _directory(mode: int) -> None:
    os.mkdir("d")
    os.chown("d", 0, GROUP)
    os.chmod("d", mode)


def _inherits(kind: str) -> None:
    _directory(0o2777)
    as_user(SOMEBODY, KINDS[kind], "d/it")
    st = os.lstat("d/it")
    same((st.st_uid, st.st_gid), (SOMEBODY, GROUP))


def _keeps_his(kind: str) -> None:
    _directory(0o777)
    as_user(SOMEBODY, KINDS[kind], "d/it")
    st = os.lstat("d/it")
    same((st.st_uid, st.st_gid), (SOMEBODY, SOMEBODY))


def _moved_in(kind: str) -> None:
    _directory(0o2777)
    os.chmod(".", 0o777)
    as_user(SOMEBODY, KINDS[kind], "it")
    as_user(SOMEBODY, os.rename, "it", "d/it")
    same(os.lstat("d/it").st_gid, SOMEBODY)


for _kind in KINDS:
    register(__name__, f"{_kind}_made_in_a_setgid_directory_has_its_group", partial(_inherits, _kind), USERS)
    register(__name__, f"{_kind}_made_elsewhere_has_its_makers_group", partial(_keeps_his, _kind), USERS)
    register(__name__, f"{_kind}_moved_into_a_setgid_directory_keeps_its_group", partial(_moved_in, _kind), USERS)


@claim(USERS)
def setgid_goes_down_a_tree_made_by_several_users() -> None:
    _directory(0o2777)
    os.umask(0)
    as_user(SOMEBODY, os.mkdir, "d/one", 0o777)
    as_user(NOBODY, os.mkdir, "d/one/two", 0o777)
    as_user(SOMEBODY, make, "d/one/two/f")
    for path, uid in (("d/one", SOMEBODY), ("d/one/two", NOBODY), ("d/one/two/f", SOMEBODY)):
        same((os.stat(path).st_uid, os.stat(path).st_gid), (uid, GROUP), path)
    same((mode_of("d/one"), mode_of("d/one/two"), mode_of("d/one/two/f")), (0o2777, 0o2777, 0o644))


@claim(USERS)
def chgrp_of_a_setgid_directory_counts_for_what_comes() -> None:
    _directory(0o2777)
    as_user(SOMEBODY, make, "d/before")
    os.chown("d", -1, 778)
    as_user(SOMEBODY, make, "d/after")
    same((os.stat("d/before").st_gid, os.stat("d/after").st_gid), (GROUP, 778))


@claim(USERS)
def chmod_keeps_setgid_for_a_member_and_for_root_and_takes_it_from_others() -> None:
    for uid, groups, left in ((SOMEBODY, [GROUP], 0o2755), (SOMEBODY, [], 0o755), (0, [], 0o2755)):
        for create in (make, os.mkdir):
            create("it")
            os.chown("it", SOMEBODY, GROUP)
            as_user(uid, os.chmod, "it", 0o2755, groups=groups)
            same(mode_of("it"), left, f"{create.__name__} by {uid} in {groups}")
            os.rename("it", f"{create.__name__}-{uid}-{len(groups)}")


@claim(USERS)
def a_program_made_setgid_in_a_setgid_directory_by_a_stranger_is_not() -> None:
    _directory(0o2777)

    def create(name: str) -> None:
        os.umask(0)
        os.close(os.open(f"d/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o2755))

    as_user(SOMEBODY, create, "strangers")
    as_user(SOMEBODY, create, "members", groups=[GROUP])
    same((mode_of("d/strangers"), mode_of("d/members")), (0o755, 0o2755))


@claim(USERS)
def a_write_by_anybody_but_root_takes_setuid_and_setgid() -> None:
    def write(name: str) -> None:
        with opened(name, os.O_WRONLY) as fd:
            write_all(fd, b"y")
            os.fsync(fd)

    for uid, left in ((SOMEBODY, 0o777), (NOBODY, 0o777), (0, 0o6777)):
        name = f"f{uid}"
        make(name, b"x", 0o777)
        os.chown(name, SOMEBODY, SOMEBODY)
        os.chmod(name, 0o6777)
        as_user(uid, write, name)
        same(mode_of(name), left, f"by {uid}")


@claim(USERS)
def a_truncation_by_anybody_but_root_takes_setuid_and_setgid() -> None:
    for uid, left in ((SOMEBODY, 0o777), (NOBODY, 0o777), (0, 0o6777)):
        name = f"f{uid}"
        make(name, b"text", 0o777)
        os.chown(name, SOMEBODY, SOMEBODY)
        os.chmod(name, 0o6777)
        as_user(uid, os.truncate, name, 1)
        same(mode_of(name), left, f"by {uid}")


@claim(USERS)
def sixteen_supplementary_groups_count() -> None:
    make("f", b"x", 0o040)
    for position in range(16):
        groups = [5000 + number for number in range(16)]
        os.chown("f", 0, groups[position])
        same(as_user(NOBODY, os.access, "f", os.R_OK, groups=groups), True, f"the group at {position}")


@claim(USERS)
def a_group_somebody_leaves_lets_him_in_no_more() -> None:
    make("f", b"x", 0o040)
    os.chown("f", 0, GROUP)
    same(as_user(NOBODY, os.access, "f", os.R_OK, groups=[GROUP]), True, "as a member")
    same(as_user(NOBODY, os.access, "f", os.R_OK, groups=[]), False, "afterwards")
