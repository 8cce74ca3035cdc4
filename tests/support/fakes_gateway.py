"""A gateway whose volumes are dictionaries, with the behaviours of the real one that bite.

Only an attached volume is exported, a further attachment under a path of its own; a detached one is gone at once;
read-only is refused for the container and for the tools alike; attaching twice and
detaching what is not attached are no errors (a retry after a lost reply).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from aegis.domain.globs import matches
from aegis.domain.volume import Attachment, Volume
from aegis.errors import Conflict, Denied, NotFound, Refused, WorldError
from aegis.ports import FileEntry, FileRules, VolumeUsage

NO_RULES = FileRules()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FakeGateway:
    def __init__(self) -> None:
        self.port = 2049
        self.storage: dict[str, dict[str, bytes | None]] = {}  # volume id -> path -> content; None: a directory
        self.attached: dict[str, tuple[Volume, FileRules]] = {}  # attachment id ->
        self.paths: dict[str, str] = {}  # attachment id -> what was last exported for it
        self.failures: dict[str, list[WorldError]] = {}  # method -> errors to raise, one a call

    async def create_storage(self, volume: Volume) -> None:
        await self._fail("create_storage")
        self.storage.setdefault(volume.id, {})

    async def delete_storage(self, volume: Volume) -> None:
        await self._fail("delete_storage")
        if any(attached.id == volume.id for attached, _ in self.attached.values()):
            raise Conflict(f"volume {volume.id} is attached")
        self.storage.pop(volume.id, None)

    async def attach(self, volume: Volume, attachment: Attachment, rules: FileRules) -> str:
        await self._fail("attach")
        if volume.id not in self.storage:
            raise WorldError(f"volume {volume.id} has no storage")
        self.attached[attachment.id] = (volume, rules)
        taken = {path for each, path in self.paths.items() if each in self.attached and each != attachment.id}
        own = f"{volume.export_path}+{attachment.id[:8]}"
        self.paths[attachment.id] = own if volume.export_path in taken else volume.export_path
        return self.paths[attachment.id]

    async def detach(self, volume: Volume, attachment: Attachment) -> None:
        await self._fail("detach")
        self.attached.pop(attachment.id, None)

    def workspace(self, volume: Volume, attachment: Attachment | None = None) -> FakeWorkspace:
        rules = NO_RULES if attachment is None else self.attached[attachment.id][1]
        return FakeWorkspace(self.storage[volume.id], rules)

    async def usage(self, volume: Volume) -> VolumeUsage:
        files = self.storage[volume.id]
        return VolumeUsage(sum(len(each or b"") for each in files.values()), volume.size_limit_bytes, len(files))

    async def probe(self) -> None:
        return None

    def exported(self, export_path: str) -> tuple[Volume, FileRules] | None:
        """What a mount of this path reaches."""
        for attachment_id, attached in self.attached.items():
            if self.paths[attachment_id] == export_path:
                return attached
        return None

    async def _fail(self, method: str) -> None:
        await asyncio.sleep(0)  # a foreign call always takes a turn
        if self.failures.get(method):
            raise self.failures[method].pop(0)


class FakeWorkspace:
    def __init__(self, files: dict[str, bytes | None], rules: FileRules) -> None:
        self._files = files
        self._rules = rules

    async def read(self, path: str, *, bytes_max: int) -> bytes:
        self._allow(self._rules.read, path)
        if path not in self._files:
            raise NotFound(f"{path} does not exist")
        content = self._files[path]
        if content is None:
            raise Refused(f"{path} is a directory")
        return content[:bytes_max]

    async def write(self, path: str, content: bytes) -> None:
        self._may_write(path)
        parent = path.rpartition("/")[0]
        if parent and self._files.get(parent, b"") is not None:
            raise NotFound(f"{parent} does not exist")
        self._files[path] = content

    async def list(self, path: str) -> list[FileEntry]:
        if path and self._files.get(path, b"") is not None:
            raise NotFound(f"{path} is no directory")
        prefix = f"{path}/" if path else ""
        names = [name for name in self._files if name.startswith(prefix) and "/" not in name[len(prefix) :]]
        return [self._entry(name) for name in names]

    async def make_directory(self, path: str) -> None:
        self._may_write(path)
        if path in self._files:
            raise Conflict(f"{path} exists")
        self._files[path] = None

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        self._may_write(path)
        if path not in self._files:
            raise NotFound(f"{path} does not exist")
        below = [name for name in self._files if name.startswith(f"{path}/")]
        if below and not recursive:
            raise Conflict(f"{path} is not empty")
        for name in [path, *below]:
            del self._files[name]

    async def stat(self, path: str) -> FileEntry:
        if path not in self._files:
            raise NotFound(f"{path} does not exist")
        return self._entry(path)

    def _entry(self, path: str) -> FileEntry:
        content = self._files[path]
        kind = "directory" if content is None else "file"
        return FileEntry(path.rpartition("/")[2], kind, len(content or b""), 0o644, NOON)

    def _may_write(self, path: str) -> None:
        if self._rules.read_only:
            raise Denied(f"{path}: the volume is attached read-only")
        self._allow(self._rules.write, path)

    def _allow(self, patterns: tuple[str, ...] | None, path: str) -> None:
        if patterns is not None and not any(matches(pattern, path) for pattern in patterns):
            raise Denied(f"{path}: not allowed by the manifest")
