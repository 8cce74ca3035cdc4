"""Every kind of file against every call that takes a name, and what FIFOs and sockets are for."""

from __future__ import annotations

import os
import socket
import stat
from errno import EEXIST, EISDIR, ENOTDIR, ENXIO, EPERM, ESPIPE
from functools import partial

from integration.posix.claims import claim, register
from integration.posix.tools import (
    KINDS,
    content,
    exists,
    kind_of,
    make,
    make_socket,
    mode_of,
    moves,
    opened,
    refused,
    same,
    together,
    write_all,
)

TYPES = {
    "a_file": stat.S_IFREG, "a_directory": stat.S_IFDIR, "a_fifo": stat.S_IFIFO, "a_symlink": stat.S_IFLNK,
    "a_socket": stat.S_IFSOCK,
}  # fmt: skip


def _appears(kind: str) -> None:
    KINDS[kind]("new")
    same(kind_of("new"), TYPES[kind], "type")
    same(os.listdir("."), ["new"])
    st = os.lstat("new")
    same((st.st_uid, st.st_gid), (os.geteuid(), os.getegid()), "owner")
    same(st.st_nlink, 2 if kind == "a_directory" else 1, "links")


def _unlinked(kind: str) -> None:
    KINDS[kind]("old")
    os.unlink("old")
    same(exists("old"), False, "exists")
    same(os.listdir("."), [])


def _renamed(kind: str) -> None:
    KINDS[kind]("old")
    before = os.lstat("old")
    os.rename("old", "new")
    after = os.lstat("new")
    same(exists("old"), False, "the old name exists")
    same((after.st_ino, after.st_mode, after.st_mtime_ns), (before.st_ino, before.st_mode, before.st_mtime_ns))


def _linked(kind: str) -> None:
    KINDS[kind]("one")
    os.link("one", "two", follow_symlinks=False)
    same(os.lstat("one").st_ino, os.lstat("two").st_ino, "inode")
    same(os.lstat("one").st_nlink, 2, "links")
    os.unlink("one")
    same(os.lstat("two").st_nlink, 1, "links afterwards")
    same(kind_of("two"), TYPES[kind], "type")


def _chmodded(kind: str) -> None:
    KINDS[kind]("it")
    for mode in (0o000, 0o644, 0o711, 0o777, 0o400, 0o700):
        os.chmod("it", mode)
        same(mode_of("it"), mode, "mode")


def _timed(kind: str) -> None:
    KINDS[kind]("it")
    os.utime("it", ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321), follow_symlinks=False)
    st = os.lstat("it")
    same((st.st_atime_ns, st.st_mtime_ns), (1_000_000_000_123_456_789, 1_100_000_000_987_654_321))


def _in_the_way(kind: str) -> None:
    KINDS[kind]("taken")
    refused(EEXIST, os.mkdir, "taken")
    refused(EEXIST, os.mkfifo, "taken")
    refused(EEXIST, os.symlink, "x", "taken")
    refused(EEXIST, os.open, "taken", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    make("file")
    refused(EEXIST, os.link, "file", "taken")
    same(kind_of("taken"), TYPES[kind], "type")


def _not_a_directory(kind: str) -> None:
    KINDS[kind]("it")
    refused(ENOTDIR, os.rmdir, "it")
    refused(ENOTDIR, os.open, "it", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _touches_the_directory(kind: str) -> None:
    os.mkdir("d")
    moves("d", "mtime ctime", lambda: KINDS[kind]("d/new"))


def _leaves_the_directory(kind: str) -> None:
    os.mkdir("d")
    KINDS[kind]("d/old")
    moves("d", "mtime ctime", lambda: (os.rmdir if kind == "a_directory" else os.unlink)("d/old"))


for _kind in KINDS:
    _plain = _kind != "a_directory"
    register(__name__, f"{_kind}_appears_with_its_type_owner_and_links", partial(_appears, _kind))
    register(__name__, f"{_kind}_is_renamed_and_stays_the_same_file", partial(_renamed, _kind))
    register(__name__, f"{_kind}_keeps_times_to_the_nanosecond", partial(_timed, _kind))
    register(__name__, f"{_kind}_in_the_way_of_a_new_name_is_EEXIST", partial(_in_the_way, _kind))
    register(__name__, f"{_kind}_made_moves_mtime_and_ctime_of_its_directory", partial(_touches_the_directory, _kind))
    register(__name__, f"{_kind}_removed_moves_mtime_and_ctime_of_its_directory", partial(_leaves_the_directory, _kind))
    if _kind != "a_symlink":
        register(__name__, f"{_kind}_takes_every_mode", partial(_chmodded, _kind))
    if _plain:
        register(__name__, f"{_kind}_is_unlinked", partial(_unlinked, _kind))
        register(__name__, f"{_kind}_is_linked_and_both_names_are_one_file", partial(_linked, _kind))
        register(__name__, f"{_kind}_is_no_directory", partial(_not_a_directory, _kind))


@claim()
def unlink_of_a_directory_is_refused() -> None:
    os.mkdir("d")
    refused((EISDIR, EPERM), os.unlink, "d")
    same(kind_of("d"), stat.S_IFDIR)


@claim()
def link_to_a_directory_is_EPERM() -> None:
    os.mkdir("d")
    refused(EPERM, os.link, "d", "hard")


@claim()
def a_socket_is_not_opened() -> None:
    make_socket("s")
    refused(ENXIO, os.open, "s", os.O_RDONLY)
    refused(ENXIO, os.open, "s", os.O_WRONLY)


@claim()
def a_fifo_without_reader_is_ENXIO_to_a_writer_that_does_not_wait() -> None:
    os.mkfifo("p")
    refused(ENXIO, os.open, "p", os.O_WRONLY | os.O_NONBLOCK)
    os.close(os.open("p", os.O_RDONLY | os.O_NONBLOCK))


@claim()
def a_fifo_carries_bytes_between_processes() -> None:
    os.mkfifo("p")

    def write() -> None:
        with opened("p", os.O_WRONLY) as fd:
            write_all(fd, b"through the pipe")

    def read() -> None:
        same(content("p"), b"through the pipe")

    together(write, read)
    same(os.lstat("p").st_size, 0, "size")


@claim()
def a_fifo_does_not_seek() -> None:
    os.mkfifo("p")
    with opened("p", os.O_RDWR | os.O_NONBLOCK) as fd:
        refused(ESPIPE, os.lseek, fd, 0, os.SEEK_SET)


@claim()
def a_socket_on_it_takes_connections() -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("s")
        server.listen()
        client.connect("s")
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"hello")
            same(accepted.recv(10), b"hello")
