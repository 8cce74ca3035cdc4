"""A volume: a directory that outlives containers, exported as `/<tenant_id>/<volume_id>` while attached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from aegis.domain.manifest import AccessMode, StorageClass
from aegis.domain.transitions import follow


class VolumeState(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    ATTACHED = "attached"
    DETACHED = "detached"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"


class VolumeEvent(StrEnum):
    CREATED = "created"  # its storage is there
    ATTACH = "attach"
    DETACH = "detach"  # the last attachment ended
    DELETE = "delete"
    DELETED = "deleted"  # its storage is gone
    FAIL = "fail"


VOLUME_TRANSITIONS: dict[tuple[VolumeState, VolumeEvent], VolumeState] = {
    (VolumeState.CREATING, VolumeEvent.CREATED): VolumeState.AVAILABLE,
    (VolumeState.CREATING, VolumeEvent.FAIL): VolumeState.FAILED,
    (VolumeState.CREATING, VolumeEvent.DELETE): VolumeState.DELETING,  # left behind half made
    (VolumeState.AVAILABLE, VolumeEvent.ATTACH): VolumeState.ATTACHED,
    (VolumeState.AVAILABLE, VolumeEvent.DELETE): VolumeState.DELETING,
    (VolumeState.ATTACHED, VolumeEvent.ATTACH): VolumeState.ATTACHED,  # any number of readers
    (VolumeState.ATTACHED, VolumeEvent.DETACH): VolumeState.DETACHED,
    (VolumeState.DETACHED, VolumeEvent.ATTACH): VolumeState.ATTACHED,
    (VolumeState.DETACHED, VolumeEvent.DELETE): VolumeState.DELETING,
    (VolumeState.DELETING, VolumeEvent.DELETE): VolumeState.DELETING,  # tried again
    (VolumeState.DELETING, VolumeEvent.DELETED): VolumeState.DELETED,
    (VolumeState.FAILED, VolumeEvent.DELETE): VolumeState.DELETING,
}


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

    @property
    def is_ephemeral(self) -> bool:
        return self.storage_class is StorageClass.EPHEMERAL

    def after(self, event: VolumeEvent, *, error: str | None = None) -> Volume:
        """This volume after `event`. InvalidTransition when it is not in a state for it."""
        return replace(self, state=follow(VOLUME_TRANSITIONS, self.state, event), error=error)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One execution's hold on one volume. `export_key` (16 hex digits) goes into every file handle, so a detach makes
    them stale at once; it is stored, so a restart of the daemon does not. `docker_volume_name` is the beginning of the
    names of its Docker volumes: every container gets one of its own, since a name once used keeps its old options."""

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
