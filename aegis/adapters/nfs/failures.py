"""What an errno of the volume's stack means to somebody who asked by path: one table, one place."""

from __future__ import annotations

import errno
import os

from aegis.errors import AegisError, Conflict, Denied, NotFound, Refused, WorldError

_MEANINGS: dict[int, tuple[type[Refused], str]] = {
    errno.ENOENT: (NotFound, "there is no such file or directory"),
    errno.ESTALE: (NotFound, "it was removed meanwhile"),
    errno.EACCES: (Denied, "the volume's policy or the file's mode refuses this"),
    errno.EPERM: (Denied, "the operation is not permitted on this kind of file"),
    errno.EROFS: (Denied, "the volume is attached read-only"),
    errno.ENOSPC: (Refused, "the volume's size limit is reached"),
    errno.EDQUOT: (Refused, "the volume's size limit is reached"),
    errno.EAGAIN: (
        Refused,
        "the storage is busy, or still counting what a nearly full volume holds: try again in a moment",
    ),
    errno.EFBIG: (Refused, "the file would become too large"),
    errno.EEXIST: (Conflict, "it exists already"),
    errno.EISDIR: (Conflict, "it is a directory"),
    errno.ENOTDIR: (Conflict, "a part of the path is not a directory"),
    errno.ENOTEMPTY: (Conflict, "the directory is not empty"),
    errno.ELOOP: (Refused, "it is a symbolic link, and the server follows none: name its target"),
    errno.ENAMETOOLONG: (Refused, "a name is longer than 255 bytes"),
    errno.EINVAL: (Refused, "the path or the operation is not valid here"),
}


def explained(error: OSError, path: str) -> AegisError:
    """The error to raise for `error`, which happened at `path` (as the caller wrote it)."""
    meaning = _MEANINGS.get(error.errno or 0)
    if meaning is None:
        return WorldError(f"{path}: the volume's storage answered {os.strerror(error.errno or errno.EIO)}")
    kind, text = meaning
    return kind(f"{path}: {text}")
