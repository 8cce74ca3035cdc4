"""What callers send: the request bodies, strict (unknown fields refused by name) and bounded.

The dispatch messages are the protocol of docs/api.md word for word; `bootstrap.py` is their only author, and
containers are not trusted, so every text has a bound here besides the bound of the whole body.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from aegis.domain.manifest import StorageClass
from aegis.ids import NAME_PATTERN

KIB = 1024
MIB = 1024 * KIB

MANIFEST_BYTES_MAX = 1 * MIB
REQUEST_BYTES_MAX = 2 * MIB
OUTPUT_CHARACTERS_MAX = 4 * MIB + KIB  # bootstrap's own bound for one stream, and its note about a timeout
RUNNING_CHARACTERS_MAX = 8 * KIB  # of each stream in one message while the command runs
DISPATCH_BYTES_MAX = 52 * MIB  # two such streams, where JSON may take six bytes for one (`\\ufffd`)
ATTEST_BYTES_MAX = 8 * KIB
ENVELOPE_BYTES_MAX = 8 * MIB  # a file that a tool writes travels in one
FILE_BYTES_MAX = 64 * MIB  # one file through the API; larger ones go in by a container

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExecutionRequest(Request):
    """Run an agent: by name (its latest deployment) or id."""

    agent: Annotated[str, Field(min_length=1, max_length=64)]
    input: Annotated[str, Field(max_length=1 * MIB)] = ""


class BundleRequest(Request):
    """A bundle of deployed agents, by name or id, and of images besides."""

    agents: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=200)] = []
    images: Annotated[list[Annotated[str, Field(min_length=1, max_length=512)]], Field(max_length=200)] = []


class VolumeRequest(Request):
    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN.pattern}$")]
    storage_class: StorageClass = StorageClass.PERSISTENT
    size_limit_bytes: Annotated[int, Field(gt=0, lt=2**63)] | None = None
    ttl_hours: Annotated[float, Field(gt=0, le=24 * 3650)] | None = None


class GenerateMessage(Request):
    """An iteration begins, or asks again: answered by what is pending, or by the final response."""

    type: Literal["generate"]
    agent_id: Annotated[str, Field(max_length=64)]
    execution_id: Id
    iteration_number: Annotated[int, Field(ge=1, le=20)]
    prompt: Annotated[str, Field(max_length=16 * MIB)]
    model_alias: Annotated[str, Field(max_length=64)]
    messages: Annotated[list[dict[str, Any]], Field(max_length=1000)] = []


class DispatchResultMessage(Request):
    """What became of one command; a repetition of one already taken is answered by what followed it."""

    type: Literal["dispatch_result"]
    execution_id: Id
    dispatch_id: Id
    exit_code: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    stdout: Annotated[str, Field(max_length=OUTPUT_CHARACTERS_MAX)]
    stderr: Annotated[str, Field(max_length=OUTPUT_CHARACTERS_MAX)]
    duration_ms: Annotated[int, Field(ge=0, lt=2**53)]
    truncated: bool = False


class DispatchOutputMessage(Request):
    """What a command has written since the last of these, while it runs. Only the result counts."""

    type: Literal["dispatch_output"]
    execution_id: Id
    dispatch_id: Id
    sequence: Annotated[int, Field(ge=0, lt=2**31)]
    stdout: Annotated[str, Field(max_length=RUNNING_CHARACTERS_MAX)]
    stderr: Annotated[str, Field(max_length=RUNNING_CHARACTERS_MAX)]
    skipped_bytes: Annotated[int, Field(ge=0, lt=2**53)] = 0


DispatchMessage = Annotated[
    GenerateMessage | DispatchResultMessage | DispatchOutputMessage, Field(discriminator="type")
]
DISPATCH_MESSAGE: TypeAdapter[GenerateMessage | DispatchResultMessage | DispatchOutputMessage] = TypeAdapter(
    DispatchMessage
)


Base64Url = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[A-Za-z0-9_.-]+$")]
UnixSeconds = Annotated[int, Field(strict=True, ge=0, lt=2**53)]


class AttestMessage(Request):
    """A key, and the proof that its private half is at hand (docs/smcp.md)."""

    protocol: Annotated[str, Field(max_length=64)]
    execution_id: Id
    iteration_number: Annotated[int, Field(strict=True, ge=1, le=20)]
    public_key: Base64Url
    timestamp: UnixSeconds
    signature: Base64Url


class EnvelopeMessage(Request):
    """A signed JSON-RPC request."""

    protocol: Annotated[str, Field(max_length=64)]
    security_token: Base64Url
    timestamp: UnixSeconds
    payload: dict[str, Any]
    signature: Base64Url
