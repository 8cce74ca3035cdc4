"""What is judged, and by whom it can be run: one iteration's result as the validators see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aegis.domain.execution import Execution
from aegis.errors import NotFound, Refused
from aegis.services.recorder import Journal
from aegis.services.volumes import MountedVolume
from aegis.services.workspaces import Workspaces

TARGET_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ScriptResult:
    exit_code: int
    output: str
    timed_out: bool = False


class ScriptRunner(Protocol):
    """Runs a validator's command in a container of its own; WorldError when it could not be run at all."""

    async def __call__(self, command: tuple[str, ...], timeout_seconds: float) -> ScriptResult: ...


class Unusable(Exception):
    """What is to be judged is not there or cannot be read; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The final response, the files, how the agent's container ended (None: it had to be killed), and whose it is."""

    execution: Execution
    iteration: int
    final: str
    exit_code: int | None
    files: Workspaces
    mounted: Sequence[MountedVolume]
    run_script: ScriptRunner
    journal: Journal

    async def target(self, path: str | None) -> tuple[str, str]:
        """What it is called, and its text; None is the final response. Unusable."""
        if path is None:
            return "the final response", self.final
        try:
            content = await self.files.read(path, bytes_max=TARGET_BYTES_MAX + 1)
        except NotFound:
            raise Unusable(f"the file {path} does not exist") from None
        except Refused as error:
            raise Unusable(f"the file {path} cannot be read: {error.message}") from None
        if len(content) > TARGET_BYTES_MAX:
            raise Unusable(f"the file {path} is longer than {TARGET_BYTES_MAX} bytes")
        return f"the file {path}", content.decode("utf-8", "replace")
