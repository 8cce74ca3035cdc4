"""The error tree of the orchestrator.

Three kinds, kept apart: the caller is wrong (`Refused` and below: an answer with a stable code), the world is wrong
(`WorldError`: says whether trying again makes sense), we are wrong (any other exception; nothing catches it below the
outermost boundary). A message names the object, what was found, what is wanted; `next_step` says what to do.
Every `code` is stable: the API shows it, the CLI maps it to an exit code, tests and users may rely on it.
"""

from __future__ import annotations

from typing import ClassVar


class AegisError(Exception):
    """Anything an operator or a caller can understand. `code` is stable, `status` the HTTP status it answers with."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}. {self.next_step}" if self.next_step else self.message


class Refused(AegisError):
    """The caller asked for something that cannot be had as asked."""

    code = "refused"
    status = 422


class NotFound(Refused):
    code = "not_found"
    status = 404


class Conflict(Refused):
    """The object exists, but is in a state in which this cannot be done."""

    code = "conflict"
    status = 409


class Unauthorized(Refused):
    code = "unauthorized"
    status = 401


class Denied(Refused):
    """Understood and forbidden by policy."""

    code = "denied"
    status = 403


class NetworkDenied(Denied):
    """An agent may not speak to this host: by its own policy, or because of where the host's name leads."""

    code = "network_denied"


class Overloaded(Refused):
    """A bound of ours is met; the same request may be taken later."""

    code = "overloaded"
    status = 429


class VolumeAlreadyMounted(Conflict):
    code = "volume_already_mounted"


class WorldError(AegisError):
    """A foreign system failed. `retryable`: whether the same call may succeed without anybody changing anything."""

    code = "unavailable"
    status = 503
    retryable: bool = True
    retry_after_seconds: float | None = None  # the other side's own word on when

    def __init__(self, message: str, *, next_step: str = "", retryable: bool | None = None) -> None:
        super().__init__(message, next_step=next_step)
        if retryable is not None:
            self.retryable = retryable


class DockerUnavailable(WorldError):
    """The socket is absent, refuses us, or nothing answers behind it."""

    code = "docker_unavailable"


class ImageNotFound(WorldError):
    code = "image_not_found"
    status = 422
    retryable = False


class ImagePullFailed(WorldError):
    code = "image_pull_failed"


class MountFailed(WorldError):
    """The engine could not mount a volume from the gateway."""

    code = "mount_failed"


class ContainerFailed(WorldError):
    """The engine could not create, start or watch a container."""

    code = "container_failed"


class HostUnreachable(WorldError):
    """A host that an agent may speak to has no address, or does not answer at any."""

    code = "host_unreachable"
    status = 502


class DatabaseUnavailable(WorldError):
    code = "database_unavailable"


class ModelFailed(WorldError):
    """The language model's provider failed or answered what cannot be used. `reason` is one stable word
    (docs/models.md), for events and metrics."""

    code = "model_failed"

    def __init__(
        self,
        message: str,
        *,
        next_step: str = "",
        retryable: bool | None = None,
        reason: str = "unusable",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, next_step=next_step, retryable=retryable)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class ModelContextTooLong(ModelFailed):
    """The conversation does not fit into this model's context. It may fit into another's."""

    code = "model_context_too_long"
    retryable = False


class SecretUnavailable(WorldError):
    """A secret cannot be had from its store; the message says why, and never holds one."""

    code = "secret_unavailable"


class ToolServerFailed(WorldError):
    """A tool server does not run, does not answer, or says what is no MCP. The daemon starts it again by itself."""

    code = "tool_server_failed"


class JudgeFailed(WorldError):
    """A judge came to no opinion: unreachable, out of time, or twice an answer that cannot be used. Not the fault of
    the agent that was to be judged."""

    code = "judge_failed"
    retryable = False
