"""An execution: one run of an agent until a verdict. States and the only ways between them (a table, tested whole)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from aegis.domain.manifest import AgentManifest
from aegis.domain.transitions import follow


class ExecutionState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ExecutionEvent(StrEnum):
    START = "start"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


TRANSITIONS: dict[tuple[ExecutionState, ExecutionEvent], ExecutionState] = {
    (ExecutionState.PENDING, ExecutionEvent.START): ExecutionState.RUNNING,
    (ExecutionState.PENDING, ExecutionEvent.FAIL): ExecutionState.FAILED,
    (ExecutionState.PENDING, ExecutionEvent.CANCEL): ExecutionState.CANCELLED,
    (ExecutionState.RUNNING, ExecutionEvent.SUCCEED): ExecutionState.COMPLETED,
    (ExecutionState.RUNNING, ExecutionEvent.FAIL): ExecutionState.FAILED,
    (ExecutionState.RUNNING, ExecutionEvent.CANCEL): ExecutionState.CANCELLED,
}
FINAL_STATES = frozenset({ExecutionState.COMPLETED, ExecutionState.FAILED, ExecutionState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Agent:
    """A deployed manifest. Deploying a name again makes a new `id`; executions keep the one they started with."""

    id: str
    tenant_id: str
    manifest: AgentManifest
    created_at: datetime

    @property
    def name(self) -> str:
        return self.manifest.name


@dataclass(frozen=True, slots=True)
class Execution:
    """`container_uid`, `container_gid` are the ids every attribute of its volumes is squashed to."""

    id: str
    tenant_id: str
    agent_id: str
    agent_name: str
    manifest: AgentManifest  # as it was when the execution was made
    input: str  # what this run is asked to do, added to the manifest's instruction
    container_uid: int
    container_gid: int
    state: ExecutionState
    created_at: datetime
    token_hash: str = ""  # SHA-256 (hex) of the dispatch token; the token itself is never stored
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error_code: str | None = None  # why it failed: stable code and text for people
    error: str | None = None
    output: str | None = None  # the final response of the iteration that succeeded
    labels: dict[str, str] = field(default_factory=dict)
    parent_id: str | None = None  # the execution this one judges; it ends with it
    node_id: str | None = None  # the daemon that runs it, and goes on with it after a restart

    def after(self, event: ExecutionEvent, at: datetime, **changes: Any) -> Execution:
        """This execution after `event`, its times set. InvalidTransition when it is not in a state for it."""
        state = follow(TRANSITIONS, self.state, event)
        changes["ended_at" if state in FINAL_STATES else "started_at"] = at
        return replace(self, state=state, **changes)
