"""Owner, group and others: each class is held by its own three bits and by no others', for files and directories."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EACCES, EEXIST, ENOENT, EPERM
from functools import partial
from typing import Any

from integration.posix.claims import USERS, claim, register
from integration.posix.tools import (
    NOBODY,
    SOMEBODY,
    as_user,
    content,
    exists,
    fork_and_exec,
    make,
    mode_of,
    opened,
    refused,
    same,
    write_all,
)

GROUP = 777

CLASSES: dict[str, tuple[dict[str, Any], int]] = {
    "the_owner": ({"uid": SOMEBODY}, 6),
    "the_group": ({"uid": NOBODY, "gid": GROUP}, 3),
    "a_supplementary_group": ({"uid": NOBODY, "groups": [5, GROUP]}, 3),
    "others": ({"uid": NOBODY, "groups": [5]}, 0),
}
"""Who that is to a file of SOMEBODY's and GROUP's, and how far his bits are shifted."""


def _append(path: str) -> None:
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        write_all(fd, b"more")


def _read_write(path: str) -> None:
    with opened(path, os.O_RDWR) as fd:
        os.pwrite(fd, os.pread(fd, 1, 0), 0)


def _allows(flag: int, path: str) -> None:
    if not os.access(path, flag):
        raise PermissionError(EACCES, "access says no")


FILE_ACTIONS: dict[str, tuple[Callable[[str], object], int]] = {
    "read": (content, 4),
    "append_to": (_append, 2),
    "open_for_both": (_read_write, 6),
    "truncate": (lambda path: os.truncate(path, 0), 2),
    "open_truncating": (lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)), 2),
    "touch": (os.utime, 2),
    "be_told_R_OK_of": (partial(_allows, os.R_OK), 4),
    "be_told_W_OK_of": (partial(_allows, os.W_OK), 2),
    "be_told_X_OK_of": (partial(_allows, os.X_OK), 1),
}

DIRECTORY_ACTIONS: dict[str, tuple[Callable[[str], object], int]] = {
    "list": (os.listdir, 4),
    "be_told_R_OK_of": (partial(_allows, os.R_OK), 4),
    "be_told_W_OK_of": (partial(_allows, os.W_OK), 2),
    "be_told_X_OK_of": (partial(_allows, os.X_OK), 1),
    "enter": (os.chdir, 1),
    "look_into": (lambda path: os.stat(f"{path}/f"), 1),
    "open_a_file_in": (lambda path: content(f"{path}/f"), 1),
    "make_a_file_in": (lambda path: make(f"{path}/new"), 3),
    "make_a_directory_in": (lambda path: os.mkdir(f"{path}/new"), 3),
    "make_a_symlink_in": (lambda path: os.symlink("x", f"{path}/new"), 3),
    "make_a_fifo_in": (lambda path: os.mkfifo(f"{path}/new"), 3),
    "unlink_in": (lambda path: os.unlink(f"{path}/f"), 3),
    "rmdir_in": (lambda path: os.rmdir(f"{path}/d"), 3),
    "rename_in": (lambda path: os.rename(f"{path}/f", f"{path}/new"), 3),
    "rename_out_of": (lambda path: os.rename(f"{path}/f", "open/new"), 3),
    "rename_into": (lambda path: os.rename("open/f", f"{path}/new"), 3),
}


def _prepare(directory: bool) -> None:
    os.mkdir("open")
    make("open/f", b"text", 0o644)
    os.chmod("open", 0o777)
    if directory:
        os.mkdir("it")
        make("it/f", b"text", 0o644)
        os.mkdir("it/d")
    else:
        make("it", b"text")
    os.chown("it", SOMEBODY, GROUP)


def _with_his_bits(action: Callable[[str], object], bits: int, directory: bool, who: str) -> None:
    person, shift = CLASSES[who]
    _prepare(directory)
    os.chmod("it", bits << shift)
    as_user(person["uid"], lambda: action("it") and None, gid=person.get("gid"), groups=person.get("groups", ()))


def _without_one_of_them(action: Callable[[str], object], bits: int, directory: bool, who: str) -> None:
    """Whatever the other classes have: each bit it takes is missing once."""
    person, shift = CLASSES[who]
    _prepare(directory)
    for bit in (4, 2, 1):
        if bits & bit:
            os.chmod("it", 0o777 & ~(bit << shift))
            refused(
                EACCES, as_user, person["uid"], action, "it", gid=person.get("gid"), groups=person.get("groups", ())
            )


for _kind, _actions in (("a_file", FILE_ACTIONS), ("a_directory", DIRECTORY_ACTIONS)):
    for _who in CLASSES:
        for _name, (_action, _bits) in _actions.items():
            _body = (_action, _bits, _kind == "a_directory", _who)
            register(__name__, f"{_who}_may_{_name}_{_kind}_by_{_bits:o}", partial(_with_his_bits, *_body), USERS)
            if not (_name == "touch" and _who == "the_owner"):  # it is his to touch whatever the mode
                register(
                    __name__, f"{_who}_may_not_{_name}_{_kind}_without", partial(_without_one_of_them, *_body), USERS
                )


@claim(USERS)
def every_directory_on_the_way_must_be_searchable() -> None:
    os.makedirs("a/b/c")
    make("a/b/c/f", b"x", 0o644)
    same(as_user(SOMEBODY, content, "a/b/c/f"), b"x")
    for closed in ("a", "a/b", "a/b/c"):
        os.chmod(closed, 0o766)
        refused(EACCES, as_user, SOMEBODY, content, "a/b/c/f")
        refused(EACCES, as_user, SOMEBODY, os.stat, "a/b/c/missing")
        os.chmod(closed, 0o755)


@claim(USERS)
def chmod_is_for_the_owner_and_root_whatever_the_bits() -> None:
    make("f")
    os.chown("f", SOMEBODY, GROUP)
    os.chmod("f", 0o777)
    refused(EPERM, as_user, NOBODY, os.chmod, "f", 0o700)
    refused(EPERM, as_user, NOBODY, os.chmod, "f", 0o777, gid=GROUP)
    same(mode_of("f"), 0o777)
    as_user(SOMEBODY, os.chmod, "f", 0)
    as_user(SOMEBODY, os.chmod, "f", 0o640)
    same(mode_of("f"), 0o640)


@claim(USERS)
def a_missing_name_is_told_where_a_name_may_not_be_made() -> None:
    os.mkdir("d", 0o755)
    make("d/f")
    refused(ENOENT, as_user, NOBODY, os.unlink, "d/missing")
    refused(ENOENT, as_user, NOBODY, os.rmdir, "d/missing")
    refused(ENOENT, as_user, NOBODY, os.rename, "d/missing", "d/new")
    refused(EEXIST, as_user, NOBODY, os.open, "d/f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


@claim(USERS)
def root_is_held_by_no_bits() -> None:
    os.mkdir("d")
    os.chown("d", SOMEBODY, SOMEBODY)
    as_user(SOMEBODY, make, "d/f", b"x", 0)
    os.chmod("d", 0)
    same(content("d/f"), b"x")
    _append("d/f")
    same(os.listdir("d"), ["f"])
    os.unlink("d/f")
    same(exists("d/f"), False)


@claim(USERS)
def a_program_that_may_be_run_and_not_read_is_run() -> None:
    with open("/bin/true", "rb") as program:
        make("true", program.read(), 0o711)
    refused(EACCES, as_user, SOMEBODY, content, "true")
    same(as_user(SOMEBODY, fork_and_exec, "./true"), 0, "exit status")


@claim(USERS)
def a_file_created_in_a_directory_of_others_is_its_makers() -> None:
    os.mkdir("d")
    os.chown("d", 0, GROUP)
    os.chmod("d", 0o770)
    as_user(SOMEBODY, make, "d/f", gid=GROUP)
    as_user(NOBODY, make, "d/g", groups=[GROUP])
    same(
        [(os.stat(f"d/{name}").st_uid, os.stat(f"d/{name}").st_gid) for name in "fg"],
        [(SOMEBODY, GROUP), (NOBODY, NOBODY)],
    )


@claim(USERS)
def a_file_created_without_bits_is_used_by_its_maker_and_nobody_else() -> None:
    os.chmod(".", 0o777)

    def create_and_write() -> None:
        with opened("f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0) as fd:
            write_all(fd, b"x")
            os.fsync(fd)
            same(os.pread(fd, 10, 0), b"x")

    as_user(SOMEBODY, create_and_write)
    refused(EACCES, as_user, SOMEBODY, content, "f")
    refused(EACCES, as_user, NOBODY, content, "f")
    same(content("f"), b"x")
