"""An iteration: one fresh container, one inner loop, one verdict. States and the only ways between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from aegis.domain.transitions import follow
from aegis.domain.validation import Verdict


class IterationState(StrEnum):
    RUNNING = "running"
    REFINING = "refining"  # judged below the threshold: the next iteration is told why
    SUCCESS = "success"
    FAILED = "failed"


class IterationEvent(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    REFINE = "refine"
    FAIL = "fail"


ITERATION_TRANSITIONS: dict[tuple[IterationState, IterationEvent], IterationState] = {
    (IterationState.RUNNING, IterationEvent.PASS): IterationState.SUCCESS,
    (IterationState.RUNNING, IterationEvent.REFINE): IterationState.REFINING,
    (IterationState.RUNNING, IterationEvent.FAIL): IterationState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Iteration:
    """`number` counts from 1; failures of ours (pull, create, mount) are retried within it and never counted."""

    execution_id: str
    number: int
    state: IterationState
    started_at: datetime
    ended_at: datetime | None = None
    container_id: str | None = None
    exit_code: int | None = None  # of the agent's container
    final: str | None = None  # the final response of the inner loop
    tool_calls: int = 0
    verdict: Verdict | None = None
    error: str | None = None
    error_code: str | None = None  # stable, beside the text in `error`
    feedback: str | None = None  # what the next iteration is told

    def after(self, event: IterationEvent, at: datetime, **changes: Any) -> Iteration:
        """This iteration after `event`, ended. InvalidTransition when it has ended already."""
        return replace(self, state=follow(ITERATION_TRANSITIONS, self.state, event), ended_at=at, **changes)
