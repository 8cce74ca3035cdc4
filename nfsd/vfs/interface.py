"""The seam between the front ends and the storage: what a file system is here.

Every front end (the NFSv3 procedures, an embedder's own file tools) speaks to one `FileSystem`, and a `FileSystem` is a
stack: audit > identity (squash or mapped) > policy > quota > backend. Each layer has this interface and holds the next
one; what it does not touch it passes on by binding the inner method in its constructor, at no cost.

The rules a reader must know before changing anything:

- This package knows no RPC and no NFS. Files are `Node`s, names are `bytes`, failures are `OSError`
  with an errno; the front end turns an errno into its own status.
- All Python state is touched on the event loop's thread only. A method works at once and returns the result, or,
  when it has to wait (flush, cold read, big deletion, search of the tree), returns a `Later`. Threads of the offload
  pool run system calls on pinned descriptors, nothing else.
- Any method that takes a node may raise `Misplaced`: somebody on the host moved the file. The front end
  awaits `find(error.fileid, error.generation)` and calls again, in one place for all procedures; a front end
  that does not know it answers ESTALE, which is what the errno says.
- A method that raises has changed nothing, unless its docstring says otherwise.
- Attributes have the shape of `os.stat_result`; a backend that can return the kernel's own object does.
- A backend does no permission checks: it acts for the owner of everything, and keeps whatever mode and owner it is
  told. The identity layer (squash, mapped) decides, from what the node remembers of its file's attributes.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from nfsd.vfs.later import Later as Later
from nfsd.vfs.later import Maybe as Maybe

MAY_READ, MAY_WRITE, MAY_EXECUTE = 4, 2, 1
"""Permission bits as POSIX writes them in one octal digit; for directories execute means search."""


class Misplaced(OSError):
    """The names known for a node no longer lead to it: it was moved by the host, or its last known name removed.

    Nothing was changed. Await `FileSystem.find(fileid, generation)`, which searches the tree, and call again;
    errno is ESTALE for who does not.
    """

    def __init__(self, fileid: int, generation: int) -> None:
        super().__init__(errno.ESTALE, os.strerror(errno.ESTALE))
        self.fileid = fileid
        self.generation = generation


class Attributes(Protocol):
    """What `os.stat_result` offers and a file server needs. Times are nanoseconds since 1970, sizes bytes."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_blocks(self) -> int: ...  # units of 512 bytes
    @property
    def st_atime_ns(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


class Node:
    """One file of any type, as long as it exists: what a handle stands for. Backends subclass it.

    `fileid` and `generation` together never name two different files of one file system, also not after the inode
    number was used again. `kind` is the S_IFMT part of the mode. `mode` and `ids` are the file's as they were last read
    or set, so that an identity layer can refuse without a system call: the whole st_mode, and (uid, gid), or None for a
    file that is the volume's owner's (`FileSystem.settle_owner`). `verdict` is what a policy layer decided; a table of
    its own would cost a weak reference a look-up.
    """

    __slots__ = ("__weakref__", "fileid", "generation", "ids", "kind", "mode", "verdict")

    def __init__(self, fileid: int, generation: int, kind: int, permissions: int = 0o777) -> None:
        self.fileid = fileid
        self.generation = generation
        self.kind = kind
        self.mode = kind | permissions
        self.ids: tuple[int, int] | None = None
        self.verdict: object = None

    @property
    def owner_access(self) -> int:
        """The owner's MAY_* bits."""
        return self.mode >> 6 & 7


class Caller(NamedTuple):
    """Who asks, as the wire said it; the identity layer decides what that is worth."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Stability(IntEnum):
    """How durable a write must be before it is answered (the values are RFC 1813's stable_how)."""

    UNSTABLE = 0
    DATA_SYNC = 1
    FILE_SYNC = 2


class CreateHow(IntEnum):
    """What `create` does when the name exists (the values are RFC 1813's createmode3)."""

    UNCHECKED = 0  # take the existing file; apply a size change only
    GUARDED = 1  # EEXIST
    EXCLUSIVE = 2  # EEXIST unless it was created with the same verifier (a retransmission)


NOW = -1
"""A time of `Changes` that means "the server's clock"; a client's own time is nanoseconds since 1970."""


class Changes(NamedTuple):
    """What SETATTR may change; None leaves it alone."""

    mode: int | None = None  # 0..0o7777
    uid: int | None = None
    gid: int | None = None
    size: int | None = None  # bytes
    atime_ns: int | None = None  # nanoseconds since 1970, or NOW
    mtime_ns: int | None = None


NO_CHANGES = Changes()


class FileRange(NamedTuple):
    """Bytes still in the page cache of an open file, for `sendfile`.

    `release` must be called exactly once, when the bytes are sent or given up: until then the descriptor is pinned.
    When the file shrinks meanwhile the sender pads with zeros: the length was promised.
    """

    fd: int
    offset: int
    length: int
    release: Callable[[], None]


class ReadResult(NamedTuple):
    data: bytes | memoryview | FileRange
    eof: bool
    attributes: Attributes
    """As of after the read. A memoryview belongs to the front end until `release` (below) is called."""
    release: Callable[[], None] | None = None


class Entry(NamedTuple):
    """A directory entry. `cookie` (1 .. 2**63-1) names the place after it: it stays valid while other entries
    come and go and across a restart of the server."""

    cookie: int
    name: bytes
    fileid: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory as of now. `entries(cookie)` yields what comes after that cookie (0: all), `.` and `..` first."""

    verifier: int  # unsigned 64 bits; the same as long as cookies keep their meaning
    entries: Callable[[int], Iterator[Entry]]
    version: object = None
    """Equal to an earlier listing's: nothing was done through this file system since to the directory, its names or the
    attributes of the files in it, but to files with several names and to what reading leaves behind (atime). None: it
    cannot be told."""


class FileSystemStatistics(NamedTuple):
    """Space and files, as `df` shows them: bytes and counts; a quota shows itself here."""

    bytes_total: int
    bytes_free: int
    bytes_available: int
    files_total: int
    files_free: int
    files_available: int


class FileSystem(ABC):
    """One volume. Every layer and every backend; `nfsd.vfs.conformance` is the suite that holds them to this text.

    `shown_uid`, `shown_gid`: the owner to show for every file, or None when the attributes' own is meant.
    Names are one path component: the front end has refused "", "/", NUL, and resolves "." and ".." through
    `parent`; a backend checks again (`nfsd.vfs.names`) and raises EINVAL. ENAMETOOLONG above 255 bytes.
    Any method may raise ESTALE (the node is gone), EIO, ENOSPC, EDQUOT, EROFS, EACCES beside what it lists.
    """

    shown_uid: int | None = None
    shown_gid: int | None = None

    # ---- finding nodes ----

    @property
    @abstractmethod
    def root(self) -> Node: ...

    @abstractmethod
    def find(self, fileid: int, generation: int) -> Maybe[Node]:
        """The node of a handle, also one given out before a restart: Later while the tree is searched. ESTALE: gone."""

    @abstractmethod
    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        """The named child, symlinks not followed. ENOENT, ENOTDIR, EACCES (search permission)."""

    @abstractmethod
    def parent(self, caller: Caller, directory: Node) -> tuple[Node, Attributes]:
        """`..`; the root's is the root itself: nothing leads out of a volume."""

    @abstractmethod
    def peek(self, directory: Node, name: bytes) -> tuple[Node, Attributes] | None:
        """A child for a listing the caller was allowed to read: no search permission asked; None when it is gone."""

    @abstractmethod
    def path(self, node: Node) -> bytes:
        """Where the node is, from the volume's root: b"" is the root, no leading slash. For events and policies;
        one of several hard links; ESTALE when it has no name any more."""

    # ---- attributes ----

    @abstractmethod
    def settle_owner(self, uid: int, gid: int) -> tuple[int, int]:
        """Whose every file is that was never given an owner: made on the host, or by who is not told apart.

        Who says it first decides, for as long as the volume lives; returns what holds. From then on attributes show it
        in place of the host's ids, and what a crash left half made is 0:0's, whoever was making it.
        """

    @abstractmethod
    def getattr(self, node: Node) -> Attributes: ...

    # What a front end reads beside another operation, for its reply: a part of that operation, so nobody counts it. A
    # layer that changes what `getattr` shows changes these too.

    def before(self, node: Node) -> Attributes:
        """`getattr` of what an operation is about: the node is where it is known to be, or Misplaced is raised."""
        return self.getattr(node)

    def after(self, node: Node) -> Attributes:
        """`getattr` of what an operation has just reached, in the same turn: it need not be looked for again."""
        return self.getattr(node)

    @abstractmethod
    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        """Apply all changes or none (size first: it is the one that fails). EINVAL, EISDIR, EFBIG.

        An owner is kept beside the file, which stays the server's on the host. A change of owner takes setuid and
        setgid from anything but a directory, unless it comes with a mode."""

    @abstractmethod
    def access(self, caller: Caller, node: Node) -> int:
        """The MAY_* bits this caller has on the node."""

    def allowed(self, node: Node) -> int:
        """The MAY_* bits that may be granted at all, whoever asks: what the layers below would not refuse."""
        return MAY_READ | MAY_WRITE | MAY_EXECUTE

    @abstractmethod
    def readlink(self, caller: Caller, node: Node) -> bytes:
        """The target's bytes as they were given. EINVAL when it is no symlink."""

    # ---- data ----

    @abstractmethod
    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[ReadResult]:
        """Up to `count` bytes; short only at the end of the file. EISDIR, EINVAL (not a regular file)."""

    @abstractmethod
    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        """All of `data` or an error; returns how durable it is now (at least what was asked).

        `before`: the node's attributes, for who has read them in this very turn; nobody asks for them again then.
        After an error (ENOSPC, EFBIG) a first part of `data` may have been written, as with write(2).
        The buffer belongs to the caller again as soon as the call returns, also when it returns Later."""

    @abstractmethod
    def commit(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[None]:
        """What was written UNSTABLE is durable when this returns. Waiting callers share flushes.

        `count` 0 means to the end of the file."""

    # ---- names: the change is seen by everybody when the call returns; Later (volumes whose durability is "stable")
    # means that it is not on disk yet, and is done when a flush shared with the others has ended. A new file is whose
    # `changes` say (both ids), never anybody else's before; without ids it is the volume's owner's ----

    @abstractmethod
    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        """A regular file. `verifier` (8 bytes) with EXCLUSIVE only; it survives a restart. EEXIST, EISDIR (UNCHECKED;
        what is no regular file is never opened)."""

    @abstractmethod
    def mkdir(
        self, caller: Caller, directory: Node, name: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]: ...

    @abstractmethod
    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        """The target is kept byte for byte and never followed. `changes.mode` means nothing for a symlink."""

    @abstractmethod
    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        """A FIFO or a socket (`kind`: S_IFIFO, S_IFSOCK). EPERM for devices."""

    @abstractmethod
    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Maybe[Attributes]:
        """A further name; returns the node's attributes. EEXIST, EPERM (a directory), EMLINK."""

    @abstractmethod
    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        """Remove a name that is no directory (EISDIR). Returns the file's last attributes when that was its last
        name, else None: what a quota gives back."""

    @abstractmethod
    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        """ENOTEMPTY, ENOTDIR."""

    @abstractmethod
    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        """Atomic, replaces the target as rename(2) does; two links of one file: nothing happens. Returns the last
        attributes of what was replaced, if it is gone by that.
        ENOTEMPTY, EISDIR, ENOTDIR, EINVAL (into its own child)."""

    @abstractmethod
    def readdir(self, caller: Caller, directory: Node) -> Maybe[Listing]:
        """ENOTDIR, EACCES (read permission). Later when a large directory has to be read first."""

    # ---- the whole ----

    @abstractmethod
    def statistics(self) -> FileSystemStatistics: ...

    @property
    @abstractmethod
    def write_verifier(self) -> bytes:
        """8 bytes; changes when UNSTABLE data may have been lost (host restart, a failed flush), and only then."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is under way and close every descriptor. Safe to call twice."""
