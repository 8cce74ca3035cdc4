"""What happened, as a stream of facts: the answer to "what did the agent do".

An event is appended once and never changed. `kind` is dotted, past tense where it is a fact; `data` is JSON.
Kinds in use: execution.created|started|resumed|ending|completed|failed|cancelled (resumed: a daemon goes on with it
after a restart; ending: its end is decided, and reached when everything of it is gone),
iteration.started|resumed|retried|refining|succeeded|failed (retried: the world failed, and it is not counted; resumed:
`container` says what was found, left, ended or none; `answers`, `results`, `dispatch_id` where the conversation stood),
image.pulling|progress|failed|pulled, container.created|started|killed|exited|removed,
volume.created|attached|detached|deleted,
dispatch.sent|completed, tool.called|allowed|denied|completed (allowed and denied name the rules that decided),
model.called|failed,
judge.started (an agent, as a child execution)|answered|unusable (its answer; it is asked once more)|failed,
validator.judged,
file.* (from the gateway's audit), mount.refused,
network.allowed|denied|failed (coalesced: their `connections` and bytes add up, see services/egress/ledger).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`sequence` is assigned by the store: strictly rising per execution, so a reader can go on where it stopped."""

    kind: str
    at: datetime
    execution_id: str | None = None
    iteration: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    sequence: int = 0
