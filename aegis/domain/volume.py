"""A volume: a directory that outlives containers, exported as `/<tenant_id>/<volume_id>` while attached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from aegis.domain.manifest import AccessMode, StorageClass


class VolumeState(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    ATTACHED = "attached"
    DETACHED = "detached"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Volume:
    id: str
    tenant_id: str
    name: str
    storage_class: StorageClass
    state: VolumeState
    created_at: datetime
    size_limit_bytes: int | None = None  # net bytes; None: unlimited
    expires_at: datetime | None = None
    owner_execution_id: str | None = None  # an ephemeral volume goes when this execution ends
    fsid: int = 0  # 64 bits, fixed for the volume's life
    error: str | None = None

    @property
    def export_path(self) -> str:
        return f"/{self.tenant_id}/{self.id}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One execution's hold on one volume. `export_key` (16 hex digits) goes into every file handle, so a detach makes
    them stale at once; it is stored, so a restart of the daemon does not."""

    id: str
    volume_id: str
    execution_id: str
    access_mode: AccessMode
    mount_path: str
    uid: int
    gid: int
    export_key: str
    docker_volume_name: str
    created_at: datetime
    detached_at: datetime | None = None
