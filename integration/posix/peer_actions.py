"""What a peer can be asked beside the functions of `os`: arguments and results are what JSON carries."""

from __future__ import annotations

import os

from integration.posix import tools

_held: dict[str, int] = {}


def write(path: str, text: str) -> None:
    """A new content for the file, made if need be, closed afterwards."""
    with tools.opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        tools.write_all(fd, text.encode())


def append(path: str, text: str) -> None:
    with tools.opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        tools.write_all(fd, text.encode())


def read(path: str) -> str:
    return tools.content(path).decode()


def status(path: str) -> dict[str, int]:
    """What lstat says."""
    st = os.lstat(path)
    return {"ino": st.st_ino, "size": st.st_size, "mode": st.st_mode, "nlink": st.st_nlink, "mtime": st.st_mtime_ns}


def create_exclusively(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def create_many(directory: str, prefix: str, count: int) -> None:
    for number in range(count):
        tools.make(f"{directory}/{prefix}{number}")


def remove_many(directory: str, prefix: str, count: int) -> None:
    for number in range(count):
        os.unlink(f"{directory}/{prefix}{number}")


def claim_names(directory: str, who: str, count: int) -> int:
    """Race for names: how many of them we were the one to create."""
    won = 0
    for number in range(count):
        try:
            with tools.opened(f"{directory}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
                tools.write_all(fd, who.encode())
            won += 1
        except FileExistsError:
            pass
    return won


def rename_many(prefix: str, target: str, count: int) -> None:
    """Make `count` files, and rename each over `target`."""
    for number in range(count):
        name = f"{prefix}{number}"
        tools.make(name, name.encode())
        os.rename(name, target)


def hold(path: str) -> None:
    """Open it for reading and writing, and keep it open until `release` or the end of the claim."""
    _held[path] = os.open(path, os.O_RDWR)


def read_held(path: str) -> str:
    return os.pread(_held[path], 1 << 20, 0).decode()


def release(path: str) -> None:
    os.close(_held.pop(path))
