"""Calls made from any bytes: a string of bytes is read as decisions, one or two bytes each.

So a fuzzer that changes bytes changes decisions (which procedure, on which handle, with which name, size and time), and
one that looks for coverage finds sequences: a file made, written to, renamed and removed. Now and then a decision is to
damage the encoded arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Proc, StableHow
from nfsd.rpc.auth import Credentials, encode_authsys_parms
from nfsd.xdr import Packer, Struct

T = TypeVar("T")

NAMES = (
    b"a", b"b", b"c", b"d", b"e", b"f", b"a", b"b", b"\xff\xfe", b"x" * 255, b"x" * 256, b".", b"..", b"", b"a/b",
    b"a\0b",
)  # fmt: skip
SIZES = (0, 1, 100, 4096, 65536, 70_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
COUNTS = (0, 1, 3, 100, 512, 4096, 65536, 1 << 20, (1 << 32) - 1)
MODES = (0, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1777, 0o7777, 0o177777)
IDS = (0, 1000, 1001, (1 << 32) - 1)
TIMES = (None, t.SERVER_TIME, 0, 1, (1 << 31) * t.NS + 999_999_999)
TARGETS = (b"a", b"../../etc/passwd", b"/", b"\xff" * 1023, b"y" * 4096, b"", b"a\0b")
DATA = (b"", b"x", b"y" * 100, b"z" * 4096, b"w" * 70_000)
CREDENTIALS = tuple(
    encode_authsys_parms(Credentials(uid, uid, groups, b"box"))
    for uid, groups in ((1000, ()), (0, ()), (77, (1000, 5)))
)


class Choices:
    """Decisions; when the bytes run out, every further one is the first option and `over` is true."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def number(self, below: int) -> int:
        """0 to `below` - 1: of one byte, or of two where one is not enough."""
        width = 1 if below <= 256 else 2
        value = int.from_bytes(self._data[self._at : self._at + width].ljust(width, b"\0"), "big")
        self._at += width
        return value % below

    def of(self, options: Sequence[T]) -> T:
        return options[self.number(len(options))]

    def maybe(self, options: Sequence[T]) -> T | None:
        return self.of(options) if self.number(2) else None

    def often(self, usual: T, options: Sequence[T]) -> T:
        """`usual`, three times out of four."""
        return self.of(options) if self.number(4) == 3 else usual


def _sattr(choose: Choices) -> t.Sattr3:
    if choose.number(2) == 0:
        return t.Sattr3(mode=0o755)
    return t.Sattr3(
        choose.maybe(MODES),
        choose.maybe(IDS),
        choose.maybe(IDS),
        choose.maybe(SIZES),
        choose.of(TIMES),
        choose.of(TIMES),
    )


def _entry(choose: Choices, handles: Sequence[bytes]) -> t.Diropargs3:
    return t.Diropargs3(choose.often(handles[0], handles), choose.of(NAMES))


def _create(choose: Choices, handles: Sequence[bytes]) -> Struct:
    mode = choose.of(tuple(Createmode3))
    exclusive = mode is Createmode3.EXCLUSIVE
    how = (mode, None, choose.of((bytes(8), b"\xff" * 8))) if exclusive else (mode, _sattr(choose), None)
    return t.Create3Args(_entry(choose, handles), how)


def _mknod(choose: Choices, handles: Sequence[bytes]) -> Struct:
    kind = choose.of(tuple(Ftype3))
    device, pipe = kind in (Ftype3.NF3CHR, Ftype3.NF3BLK), kind in (Ftype3.NF3SOCK, Ftype3.NF3FIFO)
    what = (kind, _sattr(choose) if device or pipe else None, t.Specdata3(1, 3) if device else None)
    return t.Mknod3Args(_entry(choose, handles), what)


def _setattr(choose: Choices, handles: Sequence[bytes]) -> Struct:
    guard = choose.often(None, (None, t.Nfstime3(0, 0), t.Nfstime3(1, 1)))
    return t.Setattr3Args(choose.of(handles), _sattr(choose), guard)


def _write(choose: Choices, handles: Sequence[bytes]) -> Struct:
    data = choose.of(DATA)
    return t.Write3Args(choose.of(handles), choose.of(SIZES), len(data), choose.of(tuple(StableHow)), data)


def _readdirplus(choose: Choices, handles: Sequence[bytes]) -> Struct:
    return t.Readdirplus3Args(
        choose.often(handles[0], handles), choose.of((0, 1, 2, *SIZES)), bytes(8), choose.of(COUNTS), choose.of(COUNTS)
    )


_MAKE: dict[Proc, Callable[[Choices, Sequence[bytes]], Struct]] = {
    Proc.NULL: lambda _c, _h: t.Void(),
    Proc.GETATTR: lambda c, h: t.Object3Args(c.of(h)),
    Proc.SETATTR: _setattr,
    Proc.LOOKUP: lambda c, h: t.Diropargs3Args(_entry(c, h)),
    Proc.ACCESS: lambda c, h: t.Access3Args(c.of(h), c.of((0, 63, (1 << 32) - 1))),
    Proc.READLINK: lambda c, h: t.Object3Args(c.of(h)),
    Proc.READ: lambda c, h: t.Read3Args(c.of(h), c.of(SIZES), c.of(COUNTS)),
    Proc.WRITE: _write,
    Proc.CREATE: _create,
    Proc.MKDIR: lambda c, h: t.Mkdir3Args(_entry(c, h), _sattr(c)),
    Proc.SYMLINK: lambda c, h: t.Symlink3Args(_entry(c, h), _sattr(c), c.of(TARGETS)),
    Proc.MKNOD: _mknod,
    Proc.REMOVE: lambda c, h: t.Diropargs3Args(_entry(c, h)),
    Proc.RMDIR: lambda c, h: t.Diropargs3Args(_entry(c, h)),
    Proc.RENAME: lambda c, h: t.Rename3Args(_entry(c, h), _entry(c, h)),
    Proc.LINK: lambda c, h: t.Link3Args(c.of(h), _entry(c, h)),
    Proc.READDIR: lambda c, h: t.Readdir3Args(c.of(h), c.of((0, 1, 2, *SIZES)), bytes(8), c.of(COUNTS)),
    Proc.READDIRPLUS: _readdirplus,
    Proc.FSSTAT: lambda c, h: t.Object3Args(c.of(h)),
    Proc.FSINFO: lambda c, h: t.Object3Args(c.of(h)),
    Proc.PATHCONF: lambda c, h: t.Object3Args(c.of(h)),
    Proc.COMMIT: lambda c, h: t.Commit3Args(c.of(h), c.of(SIZES), c.of(COUNTS)),
}


MOUNT_TAILS = (b"", b"/", b"//a", b"/a", b"/a/b", b"/..", b"/.", b"/a/../b", b"/" + b"x" * 256, b"\0", b"/\xff\xfe")


def next_mount(choose: Choices, export: bytes) -> tuple[int, bytes, bytes]:
    """Of the MOUNT program: `(procedure, encoded arguments, AUTH_SYS credential)`."""
    proc = choose.number(6)
    packer = Packer()
    packer.opaque(
        choose.often(export, (b"", b"/", b"/t", b"/t/../t/v", b"//t//v", b"x" * 1025)) + choose.of(MOUNT_TAILS)
    )
    arguments = bytearray(bytes(packer)) if proc in (1, 3) else bytearray()
    if arguments and choose.number(8) == 7:
        arguments[choose.number(len(arguments))] ^= 1 + choose.number(255)
    return proc, bytes(arguments), choose.often(CREDENTIALS[0], CREDENTIALS)


def next_call(choose: Choices, handles: Sequence[bytes]) -> tuple[Proc, bytes, bytes]:
    """`(procedure, encoded arguments, AUTH_SYS credential)`. `handles`: the root first, then what became known."""
    proc = choose.of(tuple(Proc))
    arguments = bytearray(bytes(_MAKE[proc](choose, handles)))
    if arguments and choose.number(8) == 7:
        arguments[choose.number(min(len(arguments), 1 << 16))] ^= 1 + choose.number(255)
    if choose.number(16) == 15:
        del arguments[choose.number(len(arguments) + 1) :]
    return proc, bytes(arguments), choose.often(CREDENTIALS[0], CREDENTIALS)
