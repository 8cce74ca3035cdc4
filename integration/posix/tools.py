"""The words claims are written in: making files, demanding answers, waiting for a clock, being somebody else."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import stat
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from integration.posix.claims import NotHere

Path = str | bytes
TICKS_MAX = 100_000
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4096
NOBODY = 65534
SOMEBODY = 12345


# ---- demands ----


def same(got: object, wanted: object, what: str = "") -> None:
    """Fail unless they are equal."""
    if got != wanted:
        raise AssertionError(f"{what + ': ' if what else ''}{got!r}, wanted {wanted!r}")


def holds(condition: object, what: str) -> None:
    """Fail, saying `what` should have been, unless the condition is true."""
    if not condition:
        raise AssertionError(what)


def refused(number: int | Sequence[int], function: Callable[..., object], *arguments: Any, **keywords: Any) -> None:
    """The call must fail with this errno (or one of these, where POSIX leaves the choice)."""
    numbers = [number] if isinstance(number, int) else list(number)
    wanted = " or ".join(errno.errorcode[each] for each in numbers)
    try:
        result = function(*arguments, **keywords)
    except OSError as error:
        if error.errno not in numbers:
            got = errno.errorcode.get(error.errno or 0, str(error))
            raise AssertionError(f"failed with {got}, wanted {wanted}") from error
        return
    if type(result) is int and result > 2 and "open" in getattr(function, "__name__", ""):
        os.close(result)
    raise AssertionError(f"succeeded, wanted {wanted}")


# ---- files ----


def make(path: Path, content: bytes = b"", mode: int = 0o644) -> None:
    """A new regular file, with exactly this mode whatever the umask."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode) as fd:
        write_all(fd, content)
    if stat.S_IMODE(os.lstat(path).st_mode) != mode:
        os.chmod(path, mode)


def write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def content(path: Path) -> bytes:
    """The whole file."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> Iterator[int]:
    """A descriptor, closed afterwards."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def exists(path: Path) -> bool:
    """Whether the name itself is there, dangling or not."""
    return os.path.lexists(path)


def mode_of(path: Path) -> int:
    """The twelve permission bits of the name itself."""
    return stat.S_IMODE(os.lstat(path).st_mode)


def make_socket(path: str) -> None:
    """A socket's name, with nobody behind it."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)


def make_directory(path: Path) -> None:
    os.makedirs(path)


KINDS: dict[str, Callable[[str], None]] = {
    "a_file": make,
    "a_directory": os.mkdir,
    "a_fifo": os.mkfifo,
    "a_symlink": lambda path: os.symlink("nowhere", path),
    "a_socket": make_socket,
}
"""How to make each kind of file that an ordinary user can."""


def kind_of(path: Path) -> int:
    return stat.S_IFMT(os.lstat(path).st_mode)


# ---- time ----


def after_tick(*paths: Path) -> None:
    """Return when the file system's clock has passed every time of these files: the next change is later.

    File systems stamp with a coarse clock (4 to 10 ms); its own answer to a touch is the only one that counts.
    """
    latest = max(max(st.st_ctime_ns, st.st_mtime_ns, st.st_atime_ns) for st in map(os.lstat, paths))
    probe = f".tick{os.getpid()}"
    make(probe)
    try:
        for _ in range(TICKS_MAX):
            os.utime(probe)
            if os.stat(probe).st_ctime_ns > latest:
                return
    finally:
        os.unlink(probe)
    raise AssertionError(f"the file system's clock does not pass {latest} ns: it stands, or a time is in the future")


Times = dict[str, int]


def times(path: Path) -> Times:
    st = os.lstat(path)
    return {"atime": st.st_atime_ns, "mtime": st.st_mtime_ns, "ctime": st.st_ctime_ns}


def moves(path: Path, wanted: str, action: Callable[[], object]) -> None:
    """The action moves exactly the `wanted` ones ("mtime ctime") of mtime and ctime forward, and leaves the others."""
    after_tick(path)
    before = times(path)
    action()
    after = times(path)
    for name in ("mtime", "ctime"):
        if name in wanted.split():
            holds(after[name] > before[name], f"{name} of {path!r} should have moved, is {after[name]} as before")
        else:
            same(after[name], before[name], f"{name} of {path!r} should have stayed")


# ---- other processes ----


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a child process; what it returned (picklable), or raised, is ours."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        _report(sender, function, arguments)
    os.close(sender)
    with open(receiver, "rb") as pipe:
        said = pipe.read()
    _pid, status = os.waitpid(child, 0)
    if not said:
        raise AssertionError(f"the child ended without a word, with {os.waitstatus_to_exitcode(status)}")
    good, value = pickle.loads(said)
    if good:
        return value
    raise value


def _report(sender: int, function: Callable[..., Any], arguments: Sequence[Any]) -> NoReturn:
    try:
        try:
            said = pickle.dumps((True, function(*arguments)))
        except BaseException as error:
            said = pickle.dumps((False, error))
        write_all(sender, said)
    finally:
        os._exit(0)


def as_user(
    uid: int, function: Callable[..., Any], *arguments: Any, gid: int | None = None, groups: Sequence[int] = ()
) -> Any:
    """Call it in a child process that is this user (group `gid`, by default of the same number)."""

    def become() -> Any:
        os.setgroups(list(groups))
        group = uid if gid is None else gid
        os.setresgid(group, group, group)
        os.setresuid(uid, uid, uid)
        return function(*arguments)

    return in_child(become)


def together(*functions: Callable[[], object]) -> None:
    """Run them at the same time, each in a process of its own; the first failure is raised when all have ended."""
    children = []
    for function in functions:
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:
            _report(sender, lambda run=function: run() and None, ())
        os.close(sender)
        children.append((child, receiver))
    failures = []
    for child, receiver in children:
        with open(receiver, "rb") as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        good, value = pickle.loads(said) if said else (False, AssertionError("a process ended without a word"))
        if not good:
            failures.append(value)
    if failures:
        raise failures[0]


# ---- what Python's os module lacks ----


def libc(name: str, *arguments: Any) -> int:
    """Call a function of the C library that returns -1 and errno; path arguments as bytes."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    try:
        function = getattr(library, name)
    except AttributeError:
        raise NotHere(f"the C library has no {name}") from None
    result = int(function(*arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400


def link_followed(old: str, new: str) -> None:
    """linkat(2) with AT_SYMLINK_FOLLOW; Python's os.link(follow_symlinks=True) does not pass it."""
    libc("linkat", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), AT_SYMLINK_FOLLOW)


def rename_with(flags: int, old: str, new: str) -> None:
    """renameat2(2)."""
    libc("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) itself: posix_fallocate writes zeros where a file system cannot."""
    import ctypes

    libc("fallocate", fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length))


class Directory:
    """opendir(3), and the places in a directory that telldir(3) tells."""

    def __init__(self, path: str) -> None:
        import ctypes

        self._c = ctypes.CDLL(None, use_errno=True)
        self._c.opendir.restype = self._c.readdir.restype = ctypes.c_void_p
        self._c.telldir.restype = ctypes.c_long
        self._at = ctypes.c_void_p(self._c.opendir(os.fsencode(path)))
        self._string = ctypes.string_at

    def read(self) -> str | None:
        """The next name; None at the end."""
        entry = self._c.readdir(self._at)
        name_at = 19  # behind d_ino, d_off, d_reclen and d_type of 64-bit Linux
        return os.fsdecode(self._string(entry + name_at)) if entry else None

    def tell(self) -> int:
        return int(self._c.telldir(self._at))

    def seek(self, place: int) -> None:
        import ctypes

        self._c.seekdir(self._at, ctypes.c_long(place))

    def rewind(self) -> None:
        self._c.rewinddir(self._at)

    def close(self) -> None:
        self._c.closedir(self._at)


def where() -> str:
    """The innermost line of a claim in the exception being handled: what failed."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    mine = [frame for frame in frames if f"{os.sep}areas{os.sep}" in frame.filename] or frames
    return f"{os.path.basename(mine[-1].filename)}:{mine[-1].lineno}: {mine[-1].line}"


UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2


def utimensat(path: str, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """utimensat(2): seconds and nanoseconds, or UTIME_NOW, UTIME_OMIT for the latter."""
    libc("utimensat", AT_FDCWD, os.fsencode(path), struct.pack("qqqq", *atime, *mtime), 0)


def fork_and_exec(program: str) -> int:
    """Run a program without arguments; its exit status, or minus its signal."""
    return subprocess.run([program], stdin=subprocess.DEVNULL, timeout=30, check=False).returncode
