"""What callers get: the domain's records as JSON, without what is not theirs (an execution's token hash).

Times are ISO 8601 in UTC. Lists come as `{"items": [...]}`, newest first, so that a field can be added beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from aegis.domain.events import Event
from aegis.domain.execution import Agent, Execution, ExecutionState
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.manifest import AgentManifest, StorageClass
from aegis.domain.smcp import PROTOCOL
from aegis.domain.validation import Judgement
from aegis.domain.volume import Attachment, Volume, VolumeState
from aegis.ports import FileEntry, ModelUsage, VolumeUsage
from aegis.services.bundles import BundledImage, BundledRuntime, Loaded
from aegis.services.smcp import Grant

T = TypeVar("T")


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class Page(View, Generic[T]):
    items: list[T]


class AgentView(View):
    id: str
    name: str
    version: str
    description: str
    created_at: datetime
    manifest: AgentManifest

    @classmethod
    def of(cls, agent: Agent) -> AgentView:
        manifest = agent.manifest
        return cls(
            id=agent.id,
            name=agent.name,
            version=manifest.version,
            description=manifest.description,
            created_at=agent.created_at,
            manifest=manifest,
        )


class LoadedBundleView(View):
    made_by: str
    made_at: str
    images: list[BundledImage]
    agents: list[AgentView]
    unknown_runtimes: list[BundledRuntime]  # this node's registry says otherwise, or nothing

    @classmethod
    def of(cls, loaded: Loaded) -> LoadedBundleView:
        return cls(
            made_by=loaded.contents.made_by,
            made_at=loaded.contents.made_at,
            images=list(loaded.contents.images),
            agents=[AgentView.of(agent) for agent in loaded.agents],
            unknown_runtimes=list(loaded.unknown_runtimes),
        )


class OpinionView(View):
    judge: str
    score: float
    confidence: float
    reasoning: str
    weight: float


class JudgementView(View):
    validator: str
    score: float
    confidence: float
    passed: bool
    reason: str
    opinions: list[OpinionView]  # of the judges, where the validator asks some

    @classmethod
    def of(cls, judgement: Judgement) -> JudgementView:
        return cls(
            validator=judgement.validator,
            score=judgement.score,
            confidence=judgement.confidence,
            passed=judgement.passed,
            reason=judgement.reason,
            opinions=[OpinionView(**asdict(each)) for each in judgement.opinions],
        )


class ModelUsageView(View):
    """Tokens as the providers count them. `cost` is null where no alias that was used has a price."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None

    @classmethod
    def of(cls, parts: Sequence[ModelUsage]) -> ModelUsageView:
        costs = [part.cost for part in parts if part.cost is not None]
        return cls(
            calls=sum(part.calls for part in parts),
            input_tokens=sum(part.input_tokens for part in parts),
            output_tokens=sum(part.output_tokens for part in parts),
            cost=sum(costs) if costs else None,
        )


class IterationView(View):
    number: int
    state: IterationState
    started_at: datetime
    ended_at: datetime | None
    container_id: str | None
    exit_code: int | None
    final: str | None
    tool_calls: int
    score: float | None
    judgements: list[JudgementView]
    error: str | None
    error_code: str | None
    feedback: str | None
    usage: ModelUsageView

    @classmethod
    def of(cls, iteration: Iteration, usage: Sequence[ModelUsage] = ()) -> IterationView:
        verdict = iteration.verdict
        opinions = verdict.judgements if verdict else ()
        return cls(
            number=iteration.number,
            state=iteration.state,
            started_at=iteration.started_at,
            ended_at=iteration.ended_at,
            container_id=iteration.container_id,
            exit_code=iteration.exit_code,
            final=iteration.final,
            tool_calls=iteration.tool_calls,
            score=verdict.score if verdict else None,
            judgements=[JudgementView.of(each) for each in opinions],
            error=iteration.error,
            error_code=iteration.error_code,
            feedback=iteration.feedback,
            usage=ModelUsageView.of([part for part in usage if part.iteration == iteration.number]),
        )


class ExecutionView(View):
    id: str
    agent_id: str
    agent_name: str
    state: ExecutionState
    input: str
    max_iterations: int
    container_uid: int
    container_gid: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    output: str | None
    error_code: str | None
    error: str | None
    labels: dict[str, str]
    parent_id: str | None  # the execution this one judges
    iterations: list[IterationView] | None = None  # these two only when one execution is shown
    usage: ModelUsageView | None = None

    @classmethod
    def of(
        cls,
        execution: Execution,
        iterations: Sequence[Iteration] | None = None,
        usage: Sequence[ModelUsage] | None = None,
    ) -> ExecutionView:
        return cls(
            id=execution.id,
            agent_id=execution.agent_id,
            agent_name=execution.agent_name,
            state=execution.state,
            input=execution.input,
            max_iterations=execution.manifest.execution.max_iterations,
            container_uid=execution.container_uid,
            container_gid=execution.container_gid,
            created_at=execution.created_at,
            started_at=execution.started_at,
            ended_at=execution.ended_at,
            output=execution.output,
            error_code=execution.error_code,
            error=execution.error,
            labels=dict(execution.labels),
            parent_id=execution.parent_id,
            iterations=None if iterations is None else [IterationView.of(each, usage or ()) for each in iterations],
            usage=None if usage is None else ModelUsageView.of(usage),
        )


class RecordView(View):
    """All that is needed, with the events, to decide again what an execution decided (`aegis task replay`)."""

    format: Literal["aegis.record/1"] = "aegis.record/1"
    version: str
    execution: ExecutionView
    manifest: AgentManifest
    conversations: dict[int, dict[str, Any]]  # by iteration: the inner loop's last state


class EventView(View):
    """`sequence` rises strictly within an execution: go on with `after=` the last one seen."""

    sequence: int
    kind: str
    at: datetime
    execution_id: str | None
    iteration: int | None
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> EventView:
        return cls(
            sequence=event.sequence,
            kind=event.kind,
            at=event.at,
            execution_id=event.execution_id,
            iteration=event.iteration,
            data=event.data,
        )


class UsageView(View):
    bytes_used: int
    bytes_max: int | None
    files: int

    @classmethod
    def of(cls, usage: VolumeUsage) -> UsageView:
        return cls(bytes_used=usage.bytes_used, bytes_max=usage.bytes_max, files=usage.files)


class AttachmentView(View):
    execution_id: str
    access_mode: str
    mount_path: str
    created_at: datetime

    @classmethod
    def of(cls, attachment: Attachment) -> AttachmentView:
        return cls(
            execution_id=attachment.execution_id,
            access_mode=attachment.access_mode,
            mount_path=attachment.mount_path,
            created_at=attachment.created_at,
        )


class VolumeView(View):
    id: str
    name: str
    storage_class: StorageClass
    state: VolumeState
    export_path: str
    size_limit_bytes: int | None
    created_at: datetime
    expires_at: datetime | None
    owner_execution_id: str | None
    error: str | None
    usage: UsageView | None = None  # these two only when one volume is shown
    attachments: list[AttachmentView] | None = None

    @classmethod
    def of(
        cls, volume: Volume, usage: VolumeUsage | None = None, attachments: Sequence[Attachment] | None = None
    ) -> VolumeView:
        return cls(
            id=volume.id,
            name=volume.name,
            storage_class=volume.storage_class,
            state=volume.state,
            export_path=volume.export_path,
            size_limit_bytes=volume.size_limit_bytes,
            created_at=volume.created_at,
            expires_at=volume.expires_at,
            owner_execution_id=volume.owner_execution_id,
            error=volume.error,
            usage=None if usage is None else UsageView.of(usage),
            attachments=None if attachments is None else [AttachmentView.of(a) for a in attachments],
        )


class FileView(View):
    """`name` is for people; `path_encoded` is exact for any bytes and goes into a URL as it is."""

    name: str
    path_encoded: str
    kind: Literal["file", "directory", "symlink", "other"]
    size_bytes: int
    mode: str  # octal, as in `0644`
    modified_at: datetime

    @classmethod
    def of(cls, entry: FileEntry) -> FileView:
        raw = entry.name.encode("utf-8", "surrogateescape")
        return cls(
            name=raw.decode("utf-8", "replace"),
            path_encoded=quote(raw),
            kind=entry.kind,
            size_bytes=entry.size_bytes,
            mode=f"{entry.mode & 0o7777:04o}",
            modified_at=entry.modified_at,
        )


class DependencyView(View):
    dependency: str
    ok: bool
    optional: bool = False  # the node is ready without it: what needs it is told when it asks
    duration_ms: int
    code: str = ""
    detail: str = ""
    next_step: str = ""


class HealthView(View):
    status: Literal["ok", "degraded"]
    version: str
    uptime_seconds: int
    dependencies: list[DependencyView]


class GrantView(View):
    """`expires_at` in Unix seconds; then the key is shown again."""

    protocol: str
    security_token: str
    expires_at: int
    security_context: str

    @classmethod
    def of(cls, grant: Grant, security_context: str) -> GrantView:
        return cls(
            protocol=PROTOCOL,
            security_token=grant.token,
            expires_at=grant.expires_at,
            security_context=security_context,
        )


class ProblemView(View):
    """RFC 9457, with a stable `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    next_step: str
    retryable: bool | None = None
    problems: list[dict[str, Any]] | None = None
