"""The sticky bit: in a directory that others may write, a name is its owner's, the directory's owner's and root's."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EPERM
from functools import partial

from integration.posix.claims import USERS, claim, register
from integration.posix.tools import NOBODY, SOMEBODY, as_user, exists, make, mode_of, refused, same

KEEPER, OWNER, OTHER = 4242, SOMEBODY, NOBODY
"""The directory's owner, the file's, and somebody who may write the directory."""

WHO = {"root": 0, "the_directorys_owner": KEEPER, "the_owner": OWNER, "another": OTHER}


ACTIONS: dict[str, tuple[Callable[[str], None], Callable[[], None]]] = {
    "unlink": (make, lambda: os.unlink("sticky/it")),
    "unlink_of_a_symlink": (lambda path: os.symlink("x", path), lambda: os.unlink("sticky/it")),
    "unlink_of_a_fifo": (os.mkfifo, lambda: os.unlink("sticky/it")),
    "rmdir": (os.mkdir, lambda: os.rmdir("sticky/it")),
    "rename_within": (make, lambda: os.rename("sticky/it", "sticky/new")),
    "rename_out_of": (make, lambda: os.rename("sticky/it", "open/new")),
    "rename_over_a_file": (make, lambda: os.rename("open/mine", "sticky/it")),
    "rename_of_a_directory_within": (os.mkdir, lambda: os.rename("sticky/it", "sticky/new")),
    "rename_of_a_directory_over_one": (os.mkdir, lambda: os.rename("open/mine.d", "sticky/it")),
}
"""What is made first as the owner's `sticky/it`, and what is then done."""


def _prepare(create: Callable[[str], None], uid: int, sticky: int) -> None:
    for name in ("sticky", "open"):
        os.mkdir(name)
        os.chmod(name, 0o777)
    create("sticky/it")
    os.lchown("sticky/it", OWNER, OWNER)
    os.chmod("sticky", 0o777 | sticky)
    os.chown("sticky", KEEPER, KEEPER)
    make("open/mine")
    os.mkdir("open/mine.d")
    for name in ("mine", "mine.d"):
        os.chown(f"open/{name}", uid, uid)


def _works(action: str, uid: int, sticky: int) -> None:
    create, act = ACTIONS[action]
    _prepare(create, uid, sticky)
    as_user(uid, act)
    if "over" not in action:
        same(exists("sticky/it"), False, "the name is there")


def _is_refused(action: str, uid: int) -> None:
    create, act = ACTIONS[action]
    _prepare(create, uid, 0o1000)
    refused(EPERM, as_user, uid, act)
    same(os.lstat("sticky/it").st_uid, OWNER)


for _action in ACTIONS:
    for _name, _uid in WHO.items():
        if _name != "another":
            register(
                __name__,
                f"{_action}_in_a_sticky_directory_by_{_name}_works",
                partial(_works, _action, _uid, 0o1000),
                USERS,
            )
    register(
        __name__, f"{_action}_in_a_sticky_directory_by_another_is_EPERM", partial(_is_refused, _action, OTHER), USERS
    )
    register(__name__, f"{_action}_in_an_open_directory_by_another_works", partial(_works, _action, OTHER, 0), USERS)


@claim(USERS)
def everybody_makes_names_in_a_sticky_directory_and_removes_his_own() -> None:
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    for uid in (OWNER, OTHER):
        as_user(uid, make, f"sticky/{uid}")
        as_user(uid, os.unlink, f"sticky/{uid}")
    same(os.listdir("sticky"), [])


@claim(USERS)
def a_foreign_file_that_may_be_written_stays_in_a_sticky_directory() -> None:
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    as_user(OWNER, make, "sticky/f", b"x", 0o666)
    as_user(OTHER, os.truncate, "sticky/f", 0)
    refused(EPERM, as_user, OTHER, os.unlink, "sticky/f")


@claim(USERS)
def an_own_link_to_a_foreign_file_is_held_by_the_files_owner() -> None:
    os.mkdir("sticky")
    make("f")
    os.chown("f", OWNER, OWNER)
    os.link("f", "sticky/mine")
    os.chmod("sticky", 0o1777)
    refused(EPERM, as_user, OTHER, os.unlink, "sticky/mine")
    as_user(OWNER, os.unlink, "sticky/mine")


@claim(USERS)
def the_sticky_bit_counts_from_when_it_is_set_to_when_it_is_taken() -> None:
    os.mkdir("d")
    make("d/f")
    make("d/g")
    os.chmod("d", 0o777)
    as_user(OTHER, os.unlink, "d/f")
    os.chmod("d", 0o1777)
    refused(EPERM, as_user, OTHER, os.unlink, "d/g")
    os.chmod("d", 0o777)
    as_user(OTHER, os.unlink, "d/g")


@claim(USERS)
def a_group_that_may_write_a_sticky_directory_is_held_as_others_are() -> None:
    os.mkdir("sticky")
    os.chown("sticky", 0, 777)
    os.chmod("sticky", 0o1770)
    as_user(OWNER, make, "sticky/f", gid=777)
    refused(EPERM, as_user, OTHER, os.unlink, "sticky/f", groups=[777])
    as_user(OWNER, os.unlink, "sticky/f", groups=[777])


@claim(USERS)
def any_user_sets_the_sticky_bit_on_what_is_his() -> None:
    os.chmod(".", 0o777)
    as_user(OWNER, make, "f")
    as_user(OWNER, os.mkdir, "d")
    for name in ("f", "d"):
        as_user(OWNER, os.chmod, name, 0o1755)
        same(mode_of(name), 0o1755, name)
