"""What every call that takes a path says of a bad one: one table of calls, one of mistakes, and their product.

POSIX.1-2017, the ERRORS sections: ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, EACCES mean the same in all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR
from functools import partial

from integration.posix.claims import ORDINARY, register
from integration.posix.tools import NAME_BYTES_MAX, PATH_BYTES_MAX, make, make_socket, refused

Call = Callable[[str], object]

CALLS: dict[str, Call] = {
    "open_for_reading": lambda path: os.open(path, os.O_RDONLY),
    "open_with_create": lambda path: os.open(path, os.O_CREAT | os.O_WRONLY, 0o644),
    "open_with_exclusive_create": lambda path: os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644),
    "stat": os.stat,
    "lstat": os.lstat,
    "access": lambda path: os.stat(path) if not os.access(path, os.F_OK) else None,
    "chmod": lambda path: os.chmod(path, 0o600),
    "chown": lambda path: os.chown(path, -1, -1),
    "truncate": lambda path: os.truncate(path, 0),
    "utime": os.utime,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "mkdir": os.mkdir,
    "mkfifo": os.mkfifo,
    "symlink_at": lambda path: os.symlink("target", path),
    "readlink": os.readlink,
    "link_from": lambda path: os.link(path, "new"),
    "link_to": lambda path: os.link("file", path),
    "rename_from": lambda path: os.rename(path, "new"),
    "rename_to": lambda path: os.rename("file", path),
    "chdir": os.chdir,
    "listdir": os.listdir,
    "statvfs": os.statvfs,
    "bind_a_socket": make_socket,
}

CREATES = {
    "open_with_create",
    "open_with_exclusive_create",
    "mkdir",
    "mkfifo",
    "symlink_at",
    "link_to",
    "rename_to",
    "bind_a_socket",
}
SOCKET_PATH_BYTES_MAX = 107


def _missing_name(call: Call) -> None:
    refused(ENOENT, call, "missing")


def _missing_directory(call: Call) -> None:
    make("file")
    refused(ENOENT, call, "missing/name")


def _below_a_file(call: Call) -> None:
    make("file")
    refused(ENOTDIR, call, "file/name")


def _long_name(call: Call) -> None:
    make("file")
    refused(ENAMETOOLONG, call, "n" * (NAME_BYTES_MAX + 1))


def _long_path(call: Call) -> None:
    make("file")
    refused(ENAMETOOLONG, call, "./" * (PATH_BYTES_MAX // 2) + "n")


def _symlink_loop(call: Call) -> None:
    make("file")
    os.symlink("loop2", "loop1")
    os.symlink("loop1", "loop2")
    refused(ELOOP, call, "loop1/name")


def _empty(call: Call) -> None:
    make("file")
    refused(ENOENT, call, "")


def _unsearchable(call: Call) -> None:
    make("file")
    os.mkdir("closed")
    make("closed/name")
    os.chmod("closed", 0o600)
    refused(EACCES, call, "closed/name")


def _unwritable(call: Call) -> None:
    make("file")
    os.mkdir("readonly")
    os.chmod("readonly", 0o500)
    refused(EACCES, call, "readonly/name")


for _name, _call in CALLS.items():
    _socket = _name == "bind_a_socket"
    if _name not in CREATES:
        register(__name__, f"{_name}_a_missing_name_is_ENOENT", partial(_missing_name, _call))
    register(__name__, f"{_name}_a_name_in_a_missing_directory_is_ENOENT", partial(_missing_directory, _call))
    register(__name__, f"{_name}_a_name_below_a_file_is_ENOTDIR", partial(_below_a_file, _call))
    register(__name__, f"{_name}_a_name_behind_a_symlink_loop_is_ELOOP", partial(_symlink_loop, _call))
    if not _socket:  # its address has room for 107 bytes
        register(__name__, f"{_name}_a_name_of_256_bytes_is_ENAMETOOLONG", partial(_long_name, _call))
        register(__name__, f"{_name}_a_path_of_4097_bytes_is_ENAMETOOLONG", partial(_long_path, _call))
        register(__name__, f"{_name}_an_empty_path_is_ENOENT", partial(_empty, _call))
    register(
        __name__, f"{_name}_a_name_in_an_unsearchable_directory_is_EACCES", partial(_unsearchable, _call), ORDINARY
    )
    if _name in CREATES:
        register(
            __name__, f"{_name}_a_new_name_in_an_unwritable_directory_is_EACCES", partial(_unwritable, _call), ORDINARY
        )
