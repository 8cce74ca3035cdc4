"""chown and chgrp, for every kind of file and everybody who may try."""

from __future__ import annotations

import os
from errno import EPERM
from functools import partial

from integration.posix.claims import USERS, claim, register
from integration.posix.tools import (
    KINDS,
    NOBODY,
    SOMEBODY,
    as_user,
    make,
    mode_of,
    moves,
    opened,
    refused,
    same,
    times,
)

OWN_GROUP, OTHER_GROUP, FOREIGN_GROUP = SOMEBODY, 777, 778
"""Of the owner: his first group, a supplementary one, and one he is not in."""

Ids = tuple[int, int]

ALLOWED: dict[str, tuple[int, Ids]] = {
    "root_gives_{}_away": (0, (NOBODY, FOREIGN_GROUP)),
    "root_gives_{}_to_another_group": (0, (-1, FOREIGN_GROUP)),
    "the_owner_gives_{}_to_himself": (SOMEBODY, (SOMEBODY, -1)),
    "the_owner_gives_{}_to_the_group_it_has": (SOMEBODY, (-1, FOREIGN_GROUP)),
    "the_owner_gives_{}_to_his_first_group": (SOMEBODY, (-1, OWN_GROUP)),
    "the_owner_gives_{}_to_another_of_his_groups": (SOMEBODY, (SOMEBODY, OTHER_GROUP)),
}
REFUSED: dict[str, tuple[int, Ids]] = {
    "the_owner_may_not_give_{}_to_another_user": (SOMEBODY, (NOBODY, -1)),
    "the_owner_may_not_give_{}_to_root": (SOMEBODY, (0, -1)),
    "the_owner_may_not_give_{}_to_a_group_he_is_not_in": (SOMEBODY, (-1, 0)),
    "another_may_not_take_{}": (NOBODY, (NOBODY, NOBODY)),
    "another_may_not_give_{}_what_it_has": (NOBODY, (SOMEBODY, FOREIGN_GROUP)),
    "another_may_not_take_{}_into_his_group": (NOBODY, (-1, NOBODY)),
}


def _made(kind: str) -> None:
    """The owner's, in a group he is not in."""
    KINDS[kind]("it")
    os.lchown("it", SOMEBODY, FOREIGN_GROUP)


def _lchown(uid: int, ids: Ids) -> None:
    change = partial(os.chown, "it", *ids, follow_symlinks=False)
    change() if uid == 0 else as_user(uid, change, groups=[OTHER_GROUP] if uid == SOMEBODY else [])


def _ids() -> Ids:
    st = os.lstat("it")
    return st.st_uid, st.st_gid


def _allowed(kind: str, uid: int, ids: Ids) -> None:
    _made(kind)
    _lchown(uid, ids)
    same(_ids(), (SOMEBODY if ids[0] == -1 else ids[0], FOREIGN_GROUP if ids[1] == -1 else ids[1]))


def _refused(kind: str, uid: int, ids: Ids) -> None:
    _made(kind)
    before = times("it")
    refused(EPERM, _lchown, uid, ids)
    same(_ids(), (SOMEBODY, FOREIGN_GROUP))
    same(times("it"), before, "times")


for _kind in KINDS:
    for _what, (_uid, _wanted) in ALLOWED.items():
        register(__name__, _what.format(_kind), partial(_allowed, _kind, _uid, _wanted), USERS)
    for _what, (_uid, _wanted) in REFUSED.items():
        register(__name__, _what.format(_kind), partial(_refused, _kind, _uid, _wanted), USERS)


@claim(USERS)
def chown_moves_ctime_whoever_does_it() -> None:
    make("f")
    os.chown("f", SOMEBODY, SOMEBODY)
    moves("f", "ctime", lambda: os.chown("f", NOBODY, NOBODY))
    moves("f", "ctime", lambda: as_user(NOBODY, os.chown, "f", NOBODY, NOBODY))


@claim(USERS)
def chown_follows_a_symlink_and_lchown_does_not() -> None:
    make("f")
    os.symlink("f", "l")
    os.chown("l", SOMEBODY, SOMEBODY)
    same((os.stat("f").st_uid, os.lstat("l").st_uid), (SOMEBODY, 0))
    os.lchown("l", NOBODY, NOBODY)
    same((os.stat("f").st_uid, os.lstat("l").st_uid), (SOMEBODY, NOBODY))


@claim(USERS)
def fchown_is_chown() -> None:
    make("f")
    with opened("f") as fd:
        os.fchown(fd, SOMEBODY, 777)
        st = os.fstat(fd)
        same((st.st_uid, st.st_gid), (SOMEBODY, 777))
    same((os.stat("f").st_uid, os.stat("f").st_gid), (SOMEBODY, 777))


@claim(USERS)
def chown_of_nothing_is_anybodys() -> None:
    make("f")
    as_user(NOBODY, os.chown, "f", -1, -1)
    same((os.stat("f").st_uid, os.stat("f").st_gid), (0, 0))


@claim(USERS)
def chown_takes_setuid_and_setgid_whoever_does_it() -> None:
    for uid, to in ((0, (NOBODY, NOBODY)), (0, (SOMEBODY, -1)), (SOMEBODY, (-1, SOMEBODY))):
        make("f", mode=0o755)
        os.chown("f", SOMEBODY, SOMEBODY)
        os.chmod("f", 0o6755)
        as_user(uid, os.chown, "f", *to)
        same(mode_of("f"), 0o755, f"by {uid}")
        os.unlink("f")


@claim(USERS)
def chown_of_a_directory_leaves_its_high_bits() -> None:
    os.mkdir("d")
    os.chmod("d", 0o7755)
    os.chown("d", SOMEBODY, SOMEBODY)
    same(mode_of("d"), 0o7755)
    as_user(SOMEBODY, os.chown, "d", SOMEBODY, SOMEBODY)
    same(mode_of("d"), 0o7755)


@claim(USERS)
def a_refused_chown_takes_nothing() -> None:
    make("f", mode=0o755)
    os.chown("f", SOMEBODY, SOMEBODY)
    os.chmod("f", 0o6755)
    refused(EPERM, as_user, NOBODY, os.chown, "f", NOBODY, -1)
    same((mode_of("f"), os.stat("f").st_uid), (0o6755, SOMEBODY))


@claim(USERS)
def owners_survive_rename_and_link_and_are_one_for_all_links() -> None:
    make("f")
    os.chown("f", SOMEBODY, 777)
    os.link("f", "g")
    os.rename("f", "h")
    for name in ("g", "h"):
        same((os.stat(name).st_uid, os.stat(name).st_gid), (SOMEBODY, 777), name)
    os.chown("g", NOBODY, 778)
    same((os.stat("h").st_uid, os.stat("h").st_gid), (NOBODY, 778))


@claim(USERS)
def ids_of_every_size_are_kept() -> None:
    make("f")
    for number in (1, 65533, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 2):
        os.chown("f", number, number)
        same((os.stat("f").st_uid, os.stat("f").st_gid), (number, number))


@claim(USERS)
def who_gives_a_file_away_has_it_no_more() -> None:
    make("f", b"x", 0o600)
    os.chown("f", SOMEBODY, SOMEBODY)
    os.chown("f", NOBODY, NOBODY)
    refused(EPERM, as_user, SOMEBODY, os.chmod, "f", 0o644)
    as_user(NOBODY, os.chmod, "f", 0o644)
