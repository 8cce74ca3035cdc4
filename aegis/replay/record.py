"""The record of an execution: the document that `aegis task export` writes, read and checked.

What the API's `record` answers, and the events. Keys that are not needed to decide again are passed over, so a record
of a newer daemon can be read as long as it has what is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aegis.domain.contexts import SecurityContext
from aegis.domain.execution import Execution, ExecutionState
from aegis.domain.iteration import IterationState
from aegis.domain.manifest import AgentManifest
from aegis.domain.validation import Judgement, Opinion
from aegis.errors import Refused

FORMAT: Final = "aegis.record/1"


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


P = TypeVar("P", bound=Part)


class RecordedOpinion(Part):
    judge: str
    score: float
    confidence: float
    reasoning: str
    weight: float


class RecordedJudgement(Part):
    validator: str
    score: float
    confidence: float
    passed: bool
    reason: str
    opinions: tuple[RecordedOpinion, ...] = ()

    def judgement(self) -> Judgement:
        opinions = tuple(Opinion(**each.model_dump()) for each in self.opinions)
        return Judgement(self.validator, self.score, self.confidence, self.passed, self.reason, opinions)


class RecordedIteration(Part):
    number: int
    state: IterationState
    started_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    final: str | None
    tool_calls: int
    judgements: tuple[RecordedJudgement, ...]
    error: str | None
    error_code: str | None
    feedback: str | None


class RecordedExecution(Part):
    id: str
    agent_id: str
    agent_name: str
    state: ExecutionState
    input: str
    container_uid: int
    container_gid: int
    created_at: datetime
    output: str | None
    error_code: str | None
    error: str | None
    iterations: tuple[RecordedIteration, ...]


class RecordedEvent(Part):
    sequence: int
    kind: str
    at: datetime
    iteration: int | None
    data: dict[str, Any]


class Ground(Part):
    """What the node decided by, from the event `execution.started`."""

    tool_rounds: int
    tools: tuple[str, ...]  # of the node, those of tool servers included
    security_contexts: tuple[SecurityContext, ...]


class Record(Part):
    format: Literal["aegis.record/1"]
    version: str  # of the daemon that wrote it
    execution: RecordedExecution
    manifest: AgentManifest
    conversations: dict[int, dict[str, Any]]  # by iteration: the inner loop's last state
    events: tuple[RecordedEvent, ...]

    @property
    def ground(self) -> Ground:
        """Refused for a record of a daemon that did not write it down, or of an execution that has not begun."""
        for event in self.events:
            if event.kind == "execution.started" and "ground" in event.data:
                return _read(Ground, event.data["ground"], f"The ground of execution {self.execution.id}")
        raise Refused(f"The record of execution {self.execution.id} does not say what its node decided by")

    def as_execution(self) -> Execution:
        """As it was while it ran."""
        recorded = self.execution
        return Execution(
            id=recorded.id,
            tenant_id="",
            agent_id=recorded.agent_id,
            agent_name=recorded.agent_name,
            manifest=self.manifest,
            input=recorded.input,
            container_uid=recorded.container_uid,
            container_gid=recorded.container_gid,
            state=ExecutionState.RUNNING,
            created_at=recorded.created_at,
        )


def read_record(document: Mapping[str, Any], source: str) -> Record:
    """Refused names every fault, a few of them."""
    found = document.get("format") if isinstance(document, Mapping) else None
    if found != FORMAT:
        raise Refused(f"{source} is no record of an execution: its format is {found!r:.80}, wanted {FORMAT!r}")
    return _read(Record, document, source)


def _read(model: type[P], document: Any, source: str) -> P:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)[:5]]
        raise Refused(f"{source} cannot be replayed: {'; '.join(faults)}") from error
