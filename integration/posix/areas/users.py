"""Several users on one file system: whose files are, who may do what, and what groups and the sticky bit decide.

These run as root, who becomes one or the other; they need a file system that tells users apart.
"""

from __future__ import annotations

import os
from errno import EACCES, EPERM

from integration.posix.claims import USERS, claim
from integration.posix.tools import NOBODY, SOMEBODY, as_user, content, make, mode_of, refused, same


@claim(USERS)
def lchown_gives_the_symlink_away_and_not_the_target() -> None:
    make("f")
    os.symlink("f", "l")
    os.lchown("l", SOMEBODY, SOMEBODY)
    same((os.lstat("l").st_uid, os.stat("f").st_uid), (SOMEBODY, 0))


@claim(USERS)
def what_a_user_makes_is_his() -> None:
    os.chmod(".", 0o777)

    def make_all() -> None:
        make("f")
        os.mkdir("d")
        os.symlink("f", "l")
        os.mkfifo("p")

    as_user(SOMEBODY, make_all)
    for name in ("f", "d", "l", "p"):
        st = os.lstat(name)
        same((st.st_uid, st.st_gid), (SOMEBODY, SOMEBODY), name)


@claim(USERS)
def owner_group_and_others_are_held_by_their_own_bits() -> None:
    os.chmod(".", 0o755)
    make("f", b"x")
    os.chown("f", SOMEBODY, SOMEBODY)
    people = {"owner": (SOMEBODY, SOMEBODY), "group": (NOBODY, SOMEBODY), "other": (NOBODY, NOBODY)}
    for mode, readers in ((0o400, {"owner"}), (0o040, {"group"}), (0o004, {"other"}), (0o440, {"owner", "group"})):
        os.chmod("f", mode)
        for who, (uid, gid) in people.items():
            if who in readers:
                same(as_user(uid, content, "f", gid=gid), b"x", f"{who} at {mode:o}")
            else:
                refused(EACCES, as_user, uid, content, "f", gid=gid)


@claim(USERS)
def a_supplementary_group_counts() -> None:
    make("f", b"x", 0o040)
    os.chown("f", SOMEBODY, 777)
    same(as_user(NOBODY, content, "f", groups=[5, 777]), b"x")
    refused(EACCES, as_user, NOBODY, content, "f", groups=[5, 778])


@claim(USERS)
def the_owner_gives_a_file_to_a_group_of_his_only() -> None:
    os.chmod(".", 0o777)
    as_user(SOMEBODY, make, "f")
    as_user(SOMEBODY, os.chown, "f", -1, 777, groups=[777])
    same(os.stat("f").st_gid, 777)
    refused(EPERM, as_user, SOMEBODY, os.chown, "f", -1, 778, groups=[777])
    refused(EPERM, as_user, SOMEBODY, os.chown, "f", NOBODY, -1)


@claim(USERS)
def chmod_is_for_the_owner() -> None:
    make("f", mode=0o666)
    refused(EPERM, as_user, NOBODY, os.chmod, "f", 0o777)
    same(mode_of("f"), 0o666)


@claim(USERS)
def utime_to_a_given_time_is_for_the_owner_and_to_now_for_writers() -> None:
    make("f")
    os.chmod("f", 0o666)
    refused(EPERM, as_user, NOBODY, os.utime, "f", (1, 1))
    as_user(NOBODY, os.utime, "f")
    os.chmod("f", 0o644)
    refused(EACCES, as_user, NOBODY, os.utime, "f")


@claim(USERS)
def setgid_is_lost_by_an_owner_outside_the_group() -> None:
    os.chmod(".", 0o777)
    as_user(SOMEBODY, make, "f")
    os.chown("f", -1, 777)
    as_user(SOMEBODY, os.chmod, "f", 0o2755)
    same(mode_of("f"), 0o755)


@claim(USERS)
def a_file_in_a_setgid_directory_of_another_group_has_that_group() -> None:
    os.mkdir("d")
    os.chown("d", 0, 777)
    os.chmod("d", 0o2777)
    as_user(SOMEBODY, make, "d/f")
    as_user(SOMEBODY, os.mkdir, "d/e")
    same((os.stat("d/f").st_gid, os.stat("d/e").st_gid, mode_of("d/e")), (777, 777, 0o2755))


@claim(USERS)
def unlink_in_a_sticky_directory_is_for_the_owner() -> None:
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    as_user(SOMEBODY, make, "sticky/his")
    as_user(SOMEBODY, os.mkdir, "sticky/his.d")
    refused((EPERM, EACCES), as_user, NOBODY, os.unlink, "sticky/his")
    refused((EPERM, EACCES), as_user, NOBODY, os.rmdir, "sticky/his.d")
    as_user(SOMEBODY, os.unlink, "sticky/his")
    as_user(SOMEBODY, os.rmdir, "sticky/his.d")


@claim(USERS)
def unlink_in_a_foreign_directory_is_EACCES() -> None:
    os.mkdir("d", 0o755)
    make("d/f")
    os.chmod("d/f", 0o666)
    refused(EACCES, as_user, NOBODY, os.unlink, "d/f")
    refused(EACCES, as_user, NOBODY, make, "d/new")


@claim(USERS)
def unlink_of_a_foreign_file_in_an_own_directory_works() -> None:
    os.mkdir("d")
    make("d/roots", mode=0o600)
    os.chown("d", SOMEBODY, SOMEBODY)
    as_user(SOMEBODY, os.unlink, "d/roots")
    same(os.listdir("d"), [])


@claim(USERS)
def a_foreign_private_file_is_not_read() -> None:
    make("f", b"secret", 0o600)
    refused(EACCES, as_user, NOBODY, content, "f")
    os.mkdir("d", 0o700)
    make("d/f", b"secret")
    refused(EACCES, as_user, NOBODY, content, "d/f")
    refused(EACCES, as_user, NOBODY, os.listdir, "d")


@claim(USERS)
def a_page_cached_for_root_is_not_shown_to_others() -> None:
    make("f", b"secret", 0o600)
    same(content("f"), b"secret")
    refused(EACCES, as_user, NOBODY, content, "f")


@claim(USERS)
def rename_in_a_sticky_directory_is_for_the_owner_of_the_name_or_of_the_directory() -> None:
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    make("sticky/roots")
    as_user(SOMEBODY, make, "sticky/his")
    refused((EPERM, EACCES), as_user, NOBODY, os.rename, "sticky/his", "sticky/mine")
    as_user(NOBODY, make, "sticky/mine")
    refused((EPERM, EACCES), as_user, NOBODY, os.rename, "sticky/mine", "sticky/his")
    as_user(SOMEBODY, os.rename, "sticky/his", "sticky/still-his")


@claim(USERS)
def rename_of_a_foreign_directory_to_another_parent_is_EACCES() -> None:
    for name in ("from", "to"):
        os.mkdir(name)
        os.chmod(name, 0o777)
    os.mkdir("from/roots", 0o755)
    refused((EACCES, EPERM), as_user, NOBODY, os.rename, "from/roots", "to/roots")
