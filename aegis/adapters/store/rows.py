"""Domain values as rows and back. Pure; the columns' types do the rest (`tables.py`)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from aegis.domain.events import Event
from aegis.domain.execution import Agent, Execution, ExecutionState
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.manifest import AccessMode, AgentManifest, StorageClass
from aegis.domain.validation import Judgement, Verdict
from aegis.domain.volume import Attachment, Volume, VolumeState

Values = dict[str, Any]


def agent_values(agent: Agent, number: int) -> Values:
    return {
        "id": agent.id,
        "tenant_id": agent.tenant_id,
        "name": agent.name,
        "manifest": agent.manifest.model_dump(mode="json"),
        "created_at": agent.created_at,
        "number": number,
    }


def agent_of(row: Row[Any]) -> Agent:
    return Agent(row.id, row.tenant_id, AgentManifest.model_validate(row.manifest), row.created_at)


def execution_values(execution: Execution) -> Values:
    values = {name: getattr(execution, name) for name in Execution.__slots__}
    values["manifest"] = execution.manifest.model_dump(mode="json")
    values["state"] = execution.state.value
    return values


def execution_of(row: Row[Any]) -> Execution:
    values = dict(row._mapping)
    values["manifest"] = AgentManifest.model_validate(row.manifest)
    values["state"] = ExecutionState(row.state)
    return Execution(**values)


def iteration_values(iteration: Iteration) -> Values:
    values = {name: getattr(iteration, name) for name in Iteration.__slots__}
    values["state"] = iteration.state.value
    values["verdict"] = None if iteration.verdict is None else asdict(iteration.verdict)
    return values


def iteration_of(row: Row[Any]) -> Iteration:
    values = dict(row._mapping)
    values["state"] = IterationState(row.state)
    if row.verdict is not None:
        values["verdict"] = Verdict(tuple(map(Judgement.from_json, row.verdict["judgements"])))
    return Iteration(**values)


def volume_values(volume: Volume) -> Values:
    values = {name: getattr(volume, name) for name in Volume.__slots__}
    values["storage_class"] = volume.storage_class.value
    values["state"] = volume.state.value
    values["fsid"] = f"{volume.fsid:016x}"
    return values


def volume_of(row: Row[Any]) -> Volume:
    values = dict(row._mapping)
    values["storage_class"] = StorageClass(row.storage_class)
    values["state"] = VolumeState(row.state)
    values["fsid"] = int(row.fsid, 16)
    return Volume(**values)


def attachment_values(attachment: Attachment) -> Values:
    values = {name: getattr(attachment, name) for name in Attachment.__slots__}
    values["access_mode"] = attachment.access_mode.value
    return values


def attachment_of(row: Row[Any]) -> Attachment:
    values = dict(row._mapping)
    values["access_mode"] = AccessMode(row.access_mode)
    return Attachment(**values)


def event_values(event: Event, sequence: int) -> Values:
    return {
        "execution_id": event.execution_id or "",
        "sequence": sequence,
        "kind": event.kind,
        "at": event.at,
        "iteration": event.iteration,
        "data": event.data,
    }


def event_of(row: Row[Any]) -> Event:
    return Event(row.kind, row.at, row.execution_id or None, row.iteration, row.data, row.sequence)
