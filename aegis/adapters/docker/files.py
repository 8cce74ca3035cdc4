"""Files that containers are given, as the tar archive `PUT /containers/{id}/archive` takes.

The archive is a function of the files alone (no times, no owner of this machine), and holds no directories: Docker
makes missing ones itself (root's, 0755), and an entry for one the image has would change its owner and mode.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

from aegis.adapters.docker.payloads import FILES_DIRECTORY

_READABLE = 0o444
_EXECUTABLE = 0o555
ARCHIVE_BYTES_MAX = 16 * 1024 * 1024  # bootstrap and its like: a workspace's files come over NFS, not this way


def archive(files: Mapping[str, bytes]) -> bytes:
    """Path in /aegis/ -> content, to be extracted at `/`. root's and not writable: the agent's user cannot change what
    its own bootstrap is. Scripts (`#!`) and programs (ELF) are executable."""
    size = sum(len(content) for content in files.values())
    if size > ARCHIVE_BYTES_MAX:
        raise ValueError(f"files for a container have {size} bytes, at most {ARCHIVE_BYTES_MAX} can be put in")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            if not path.startswith(f"{FILES_DIRECTORY}/") or ".." in path.split("/"):
                raise ValueError(f"a file for a container has the path {path!r}; wanted is one in {FILES_DIRECTORY}/")
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(files[path])
            entry.mode = _EXECUTABLE if files[path].startswith((b"#!", b"\x7fELF")) else _READABLE
            tar.addfile(entry, io.BytesIO(files[path]))
    return buffer.getvalue()
