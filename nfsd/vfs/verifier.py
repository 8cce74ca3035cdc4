"""The write verifier (RFC 1813 section 3.3.7): equal as long as nothing that was answered UNSTABLE can be lost.

Such data is in the host's page cache, which outlives this process: so the verifier is made from the kernel's boot id
and stays the same when only the daemon is restarted, and no client has to send its data again. It changes when a flush
failed; that has to be remembered across restarts of the daemon, or the old verifier would come back and vouch for
the lost data: it is kept in an extended attribute of the volume's root.
"""

from __future__ import annotations

import os
from hashlib import blake2b

_ATTRIBUTE = b"user.nfsd.lost"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class WriteVerifier:
    """The current 8 bytes."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        try:
            with open(_BOOT_ID, "rb") as file:
                self._boot = file.read()
        except OSError:
            self._boot = os.urandom(16)  # unknown: as if every start were one of the host
        try:
            lost = os.getxattr(root_fd, _ATTRIBUTE)
        except OSError:
            lost = b""
        self.value = self._derive(lost)

    def _derive(self, lost: bytes) -> bytes:
        return blake2b(self._boot + lost, digest_size=8, person=b"nfsd write verf").digest()

    def change(self) -> None:
        """A flush failed. Where the attribute cannot be stored, a restart of the daemon forgets this."""
        lost = os.urandom(8)
        try:
            os.setxattr(self._root_fd, _ATTRIBUTE, lost)
        except OSError:
            pass
        self.value = self._derive(lost)
