"""Where volumes lie on the host: `<root>/<tenant_id>/<volume_id>/data`, and `meta` beside it for what cannot be kept in
the files themselves.

The rule: a deletion is one rename into `<root>/.deleted`, and then as slow as it likes. A daemon that dies in between
finds the rest at its next start; what is not wanted any more is never half there under its own name.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from aegis.domain.volume import Volume
from aegis.errors import WorldError
from aegis.ids import new_id

_DELETED = ".deleted"


class Storage:
    """The directory below which every volume lies. Must be on a file system that the daemon's user may write to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the root; WorldError names it, and what to do, when that is refused."""
        try:
            (self.root / _DELETED).mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)  # other users of the host have no business in the workspaces
        except OSError as error:
            raise WorldError(
                f"the storage root {self.root} cannot be used: {error.strerror}",
                next_step=f"Make it a directory of the daemon's user: sudo install -d -o {os.getuid()} {self.root}",
                retryable=False,
            ) from error

    def data(self, volume: Volume) -> Path:
        return self._directory(volume) / "data"

    def meta(self, volume: Volume) -> Path:
        return self._directory(volume) / "meta"

    async def create(self, volume: Volume) -> None:
        """Make the volume's directories; one that is there already is kept as it is."""
        await asyncio.to_thread(self._create, volume)

    async def delete(self, volume: Volume) -> None:
        """Gone under its name when this returns, and from the disk too unless the daemon dies meanwhile."""
        doomed = self.root / _DELETED / new_id()
        try:
            self._directory(volume).rename(doomed)
        except FileNotFoundError:
            return
        await asyncio.to_thread(remove_tree, doomed)

    async def sweep(self) -> None:
        """Finish the deletions that an earlier daemon did not."""
        for doomed in (self.root / _DELETED).iterdir():
            await asyncio.to_thread(remove_tree, doomed)

    def _directory(self, volume: Volume) -> Path:
        return self.root / volume.tenant_id / volume.id

    def _create(self, volume: Volume) -> None:
        try:
            self.data(volume).mkdir(mode=0o755, parents=True, exist_ok=True)
            self.meta(volume).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise WorldError(
                f"volume {volume.id}: its directory below {self.root} cannot be made: {error.strerror}",
                retryable=False,
            ) from error


def remove_tree(path: Path) -> None:
    """Remove a directory and all below it. No symbolic link is followed (shutil does not, where it has descriptors)."""
    shutil.rmtree(path, ignore_errors=True)
