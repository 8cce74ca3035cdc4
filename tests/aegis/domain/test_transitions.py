"""The state machines, over the full product of their states and events."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from aegis.domain.execution import FINAL_STATES, TRANSITIONS, ExecutionEvent, ExecutionState
from aegis.domain.iteration import ITERATION_TRANSITIONS, IterationEvent, IterationState
from aegis.domain.transitions import InvalidTransition, follow
from aegis.domain.volume import VOLUME_TRANSITIONS, VolumeEvent, VolumeState
from tests.support import samples
from tests.support.samples import NOON

EXECUTION_WAYS = {
    "pending": {"start": "running", "fail": "failed", "cancel": "cancelled"},
    "running": {"succeed": "completed", "fail": "failed", "cancel": "cancelled"},
}
ITERATION_WAYS = {"running": {"pass": "success", "refine": "refining", "fail": "failed"}}
VOLUME_WAYS = {
    "creating": {"created": "available", "fail": "failed", "delete": "deleting"},
    "available": {"attach": "attached", "delete": "deleting"},
    "attached": {"attach": "attached", "detach": "detached"},
    "detached": {"attach": "attached", "delete": "deleting"},
    "deleting": {"delete": "deleting", "deleted": "deleted"},
    "failed": {"delete": "deleting"},
}


@pytest.mark.parametrize(
    ("table", "states", "events", "ways"),
    [
        (TRANSITIONS, ExecutionState, ExecutionEvent, EXECUTION_WAYS),
        (ITERATION_TRANSITIONS, IterationState, IterationEvent, ITERATION_WAYS),
        (VOLUME_TRANSITIONS, VolumeState, VolumeEvent, VOLUME_WAYS),
    ],
)
def test_every_state_takes_its_events_and_refuses_all_others(
    table: Any, states: type[StrEnum], events: type[StrEnum], ways: dict[str, dict[str, str]]
) -> None:
    for state in states:
        for event in events:
            wanted = ways.get(state.value, {}).get(event.value)
            if wanted is None:
                with pytest.raises(InvalidTransition):
                    follow(table, state, event)
            else:
                assert follow(table, state, event) == wanted


def test_a_refusal_names_what_would_have_been_possible() -> None:
    with pytest.raises(InvalidTransition, match="ExecutionState pending knows no succeed; possible here: start, fail"):
        follow(TRANSITIONS, ExecutionState.PENDING, ExecutionEvent.SUCCEED)
    with pytest.raises(InvalidTransition, match="nothing any more"):
        follow(TRANSITIONS, ExecutionState.FAILED, ExecutionEvent.FAIL)


def test_no_event_leads_out_of_a_final_state() -> None:
    assert not [at for at, _ in TRANSITIONS if at in FINAL_STATES]


def test_an_execution_carries_the_times_of_its_start_and_end() -> None:
    started = samples.execution().after(ExecutionEvent.START, NOON)
    assert (started.started_at, started.ended_at) == (NOON, None)
    ended = started.after(ExecutionEvent.SUCCEED, NOON, output="done")
    assert (ended.started_at, ended.ended_at, ended.output) == (NOON, NOON, "done")
