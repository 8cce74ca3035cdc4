"""Container specifications for tests: every field said, small limits."""

from __future__ import annotations

import uuid
from typing import Any

from aegis.ports import ContainerSpec, NfsMount


def container_spec(**changes: Any) -> ContainerSpec:
    fields: dict[str, Any] = {
        "name": f"aegis-agent-{uuid.uuid4()}",
        "image": "aegis-test/busybox:1",
        "command": ("/bin/true",),
        "environment": {},
        "uid": 1000,
        "gid": 1000,
        "cpu_quota": 1.0,
        "memory_bytes": 64 * 1024 * 1024,
        "pids_limit": 64,
        "network": None,
        "mounts": (),
        "labels": {"aegis.execution_id": "e-1", "aegis.iteration": "1", "aegis.tenant_id": "default"},
    }
    return ContainerSpec(**fields | changes)


def nfs_mount(**changes: Any) -> NfsMount:
    """The volume of the deployment page's example."""
    fields: dict[str, Any] = {
        "volume_name": f"aegis-volume-{uuid.uuid4()}",
        "target": "/workspace",
        "address": "127.0.0.1",
        "port": 2049,
        "export_path": "/tenant/volume",
        "options": "addr=127.0.0.1,nfsvers=3,proto=tcp,soft,timeo=10,nolock",
    }
    return NfsMount(**fields | changes)
