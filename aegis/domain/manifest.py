"""The agent manifest: the one internal model that both YAML dialects are read into.

`aegis.documents` turns YAML into this; nothing else builds it from user input. Units are in the names; what the user
may leave out has its default here and nowhere else. Frozen: a deployed manifest never changes, a new deployment is a
new one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aegis.domain.contexts import DEFAULT_CONTEXT, SecurityContext

NANOSECONDS_PER_CPU = 1_000_000_000
DEFAULT_MODEL = "default"


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Runtime(Model):
    """What the container is made from: an image, or a language and its version (see runtime-registry.yaml)."""

    image: str | None = None
    language: str | None = None
    version: str | None = None
    image_pull_policy: PullPolicy | None = None  # None: the node's default
    model_alias: str = DEFAULT_MODEL


class Resources(Model):
    cpu_quota: Annotated[float, Field(gt=0, le=1024)] = 1.0  # cores
    memory_bytes: Annotated[int, Field(ge=6 * 1024 * 1024)] = 512 * 1024 * 1024  # Docker's own minimum is 6 MiB
    pids_limit: Annotated[int, Field(ge=1)] = 512
    timeout_seconds: Annotated[float, Field(gt=0)] = 300.0  # one iteration
    execution_timeout_seconds: Annotated[float, Field(gt=0)] | None = None  # all iterations together


class NetworkMode(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    NONE = "none"


class NetworkPolicy(Model):
    mode: NetworkMode = NetworkMode.ALLOW
    allowlist: tuple[str, ...] = ()
    denylist: tuple[str, ...] = ()


class FilesystemPolicy(Model):
    """Path patterns as seen in the container (`/workspace/**`); None: no restriction."""

    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None


class Security(Model):
    network: NetworkPolicy = NetworkPolicy()
    filesystem: FilesystemPolicy = FilesystemPolicy()
    smcp: bool = False  # commands in the container may call tools themselves
    container_uid: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1000
    container_gid: Annotated[int, Field(ge=0, le=2**31 - 1)] = 1000


class StorageClass(StrEnum):
    EPHEMERAL = "ephemeral"
    PERSISTENT = "persistent"


class AccessMode(StrEnum):
    READ_WRITE = "read-write"
    READ_ONLY = "read-only"


class VolumeSpec(Model):
    name: str
    mount_path: str
    storage_class: StorageClass = StorageClass.EPHEMERAL
    access_mode: AccessMode = AccessMode.READ_WRITE
    ttl_hours: Annotated[float, Field(gt=0)] | None = None
    size_limit_bytes: Annotated[int, Field(gt=0)] | None = None
    source_volume_id: str | None = None  # attach this existing volume instead of making one
    mount_profile: Literal["robust", "compat"] | None = None  # None: the node's default
    identity: Literal["squash", "mapped"] = "squash"


class ExitCodeValidator(Model):
    type: Literal["exit_code"] = "exit_code"
    expected: int = 0
    min_score: Annotated[float, Field(ge=0, le=1)] = 1.0


class JsonSchemaValidator(Model):
    """The final response, or a file of the workspace (`target`), is JSON that satisfies `schema`."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any]
    target: str | None = None  # path in the container; None: the final response
    min_score: Annotated[float, Field(ge=0, le=1)] = 1.0


class RegexValidator(Model):
    type: Literal["regex"] = "regex"
    pattern: str
    target: str | None = None
    must_match: bool = True
    min_score: Annotated[float, Field(ge=0, le=1)] = 1.0


class ScriptValidator(Model):
    """A command run in a fresh container on the workspace; exit code 0 is score 1, anything else 0."""

    type: Literal["script"] = "script"
    command: tuple[str, ...]
    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    min_score: Annotated[float, Field(ge=0, le=1)] = 1.0


class Judge(Model):
    """Who judges: a model of the node by its alias, or a deployed agent of the tenant, run as a child execution."""

    name: str | None = None  # in verdicts and events; None: the agent's name or the alias
    model_alias: str | None = None
    agent: str | None = None  # one of the two; neither: the model `default`
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    criteria: str | None = None  # a template in place of the validator's own

    @property
    def shown(self) -> str:
        return self.name or self.agent or self.model_alias or DEFAULT_MODEL


class Judged(Model):
    """What `semantic` and `multi_judge` have in common: what is judged, and how good it has to be."""

    criteria: str | None = None  # a template (aegis.domain.judging); None: does it fulfil the task?
    targets: Annotated[tuple[str, ...], Field(max_length=16)] = ()  # files the judge is shown, beside the response
    timeout_seconds: Annotated[float, Field(gt=0)] = 300.0  # one judge
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.7
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    fallback_on_unavailable: bool = False  # pass when too few judges could be asked


class SemanticValidator(Judged):
    type: Literal["semantic"] = "semantic"
    judge: Judge = Judge()


class ConsensusMode(StrEnum):
    WEIGHTED_AVERAGE = "weighted_average"
    MAJORITY = "majority"
    UNANIMOUS = "unanimous"
    BEST_OF_N = "best_of_n"


class MultiJudgeValidator(Judged):
    """Several judges at once, and what follows from their opinions: `aegis.domain.consensus`."""

    type: Literal["multi_judge"] = "multi_judge"
    judges: Annotated[tuple[Judge, ...], Field(min_length=1, max_length=16)]
    consensus: ConsensusMode = ConsensusMode.WEIGHTED_AVERAGE
    n: Annotated[int, Field(ge=1)] | None = None  # best_of_n only
    min_judges_required: Annotated[int, Field(ge=1)] | None = None  # None: by the mode

    @property
    def judges_required(self) -> int:
        """How many have to answer: what the manifest says, else all for unanimous, n for best_of_n, else most."""
        if self.min_judges_required is not None:
            return self.min_judges_required
        if self.consensus is ConsensusMode.UNANIMOUS:
            return len(self.judges)
        if self.consensus is ConsensusMode.BEST_OF_N:
            return self.n or 1
        return len(self.judges) // 2 + 1


Validator = Annotated[
    ExitCodeValidator
    | JsonSchemaValidator
    | RegexValidator
    | ScriptValidator
    | SemanticValidator
    | MultiJudgeValidator,
    Field(discriminator="type"),
]


def judges_of(validator: Validator) -> tuple[Judge, ...]:
    """Those a validator asks; none of the validators that are programs."""
    if isinstance(validator, SemanticValidator):
        return (validator.judge,)
    return validator.judges if isinstance(validator, MultiJudgeValidator) else ()


class ExecutionMode(StrEnum):
    ONE_SHOT = "one-shot"
    ITERATIVE = "iterative"


class ExecutionPlan(Model):
    mode: ExecutionMode = ExecutionMode.ITERATIVE
    max_iterations: Annotated[int, Field(ge=1, le=20)] = 10
    llm_timeout_seconds: Annotated[float, Field(gt=0)] = 300.0  # how long bootstrap waits for one answer
    validators: tuple[Validator, ...] = ()


class AgentManifest(Model):
    name: str
    version: str = "1.0.0"
    description: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    instruction: str = ""  # the agent's standing task; an execution adds its own input
    prompt_template: str | None = None  # see aegis.domain.prompt; None: its default
    runtime: Runtime
    environment: dict[str, str] = {}
    secret_environment: dict[str, str] = {}  # variable -> where its value is, in the node's secret store
    resources: Resources = Resources()
    security: Security = Security()
    volumes: tuple[VolumeSpec, ...] = ()
    execution: ExecutionPlan = ExecutionPlan()
    tools: tuple[str, ...] = ("cmd.run", "fs.*")  # patterns of the tools the model may call
    security_context: str = DEFAULT_CONTEXT  # one of the node's or of its own; see aegis.services.policy
    security_contexts: tuple[SecurityContext, ...] = ()  # its own
