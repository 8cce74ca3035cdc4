"""Small valid values of the domain, each different enough to notice a mixed-up field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aegis.domain.events import Event
from aegis.domain.execution import Agent, Execution, ExecutionState
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.manifest import AccessMode, AgentManifest, Runtime, StorageClass
from aegis.domain.volume import Attachment, Volume, VolumeState
from aegis.ids import DEFAULT_TENANT, new_id

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def manifest(name: str = "coder", **changes: Any) -> AgentManifest:
    return AgentManifest(name=name, runtime=Runtime(image="python:3.11-slim"), **changes)


def agent(name: str = "coder", *, seconds: float = 0, **changes: Any) -> Agent:
    return Agent(new_id(), DEFAULT_TENANT, manifest(name, **changes), NOON + timedelta(seconds=seconds))


def execution(*, seconds: float = 0, **changes: Any) -> Execution:
    made = Execution(
        id=new_id(),
        tenant_id=DEFAULT_TENANT,
        agent_id=new_id(),
        agent_name="coder",
        manifest=manifest(),
        input="write it",
        container_uid=1000,
        container_gid=1001,
        state=ExecutionState.PENDING,
        created_at=NOON + timedelta(seconds=seconds),
        token_hash="ab" * 32,
        labels={"team": "one"},
        parent_id=new_id(),
    )
    return replace(made, **changes)


def iteration(execution_id: str, number: int = 1, **changes: Any) -> Iteration:
    return replace(Iteration(execution_id, number, IterationState.RUNNING, NOON), **changes)


def volume(**changes: Any) -> Volume:
    made = Volume(
        id=new_id(),
        tenant_id=DEFAULT_TENANT,
        name="workspace",
        storage_class=StorageClass.PERSISTENT,
        state=VolumeState.AVAILABLE,
        created_at=NOON,
        size_limit_bytes=500 * 2**20,
        fsid=2**64 - 3,
    )
    return replace(made, **changes)


def attachment(volume: Volume, **changes: Any) -> Attachment:
    made = Attachment(
        id=new_id(),
        volume_id=volume.id,
        execution_id=new_id(),
        access_mode=AccessMode.READ_WRITE,
        mount_path="/workspace",
        uid=1000,
        gid=1001,
        export_key="00112233445566ff",
        docker_volume_name="aegis-volume",
        created_at=NOON,
    )
    return replace(made, **changes)


def event(kind: str, execution_id: str | None = None, **data: Any) -> Event:
    return Event(kind, NOON, execution_id, None, data)
