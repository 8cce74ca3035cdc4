"""One iteration's record as the inner loop's ports: models, tools, store, events and clock that answer from it.

The rules to know:
- Every event the loop emits is held against the next one recorded (`COMPARED`), the moment it is emitted.
- It is always the time of the event that comes next: what depends on time (rate limits) is decided as it was.
- Calls that a process in the container made by itself (SMCP) are no decisions of the loop: their events are passed
  over, and count for the rate limits. So are those that were under way when a daemon died: the next made them again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from aegis.domain.events import Event
from aegis.domain.volume import Attachment, Volume
from aegis.errors import Refused
from aegis.ports import Finish, Message, ModelContext, ModelReply, ModelUsage, ToolSpec, Workspace
from aegis.replay.ledger import Ledger
from aegis.replay.record import Record, RecordedEvent
from aegis.services.cmd_tool import CMD_RUN
from aegis.services.conversation import CALLS_IN_ONE_ANSWER_MAX, Conversation
from aegis.services.fs_tools import fs_tools
from aegis.services.inner_loop import REFUSAL_CHARACTERS_MAX
from aegis.services.judging.jobs import Jobs
from aegis.services.recorder import Journal
from aegis.services.server_tools import AnyArguments, urls_named
from aegis.services.sessions import Session
from aegis.services.tools import Tool, ToolContext
from aegis.services.web_tool import web_tool

COMPARED: Final[Mapping[str, tuple[str, ...]]] = {
    "model.called": ("round", "alias", "finish", "content", "tool_calls"),
    "tool.called": ("name", "arguments"),
    "tool.allowed": ("name", "rules"),
    "tool.denied": ("name", "reason", "rules"),
    "tool.completed": ("name", "result"),
    "dispatch.sent": ("command", "args", "cwd"),
    "dispatch.completed": ("exit_code", "truncated", "stdout", "stderr"),
}
DECISIONS: Final = frozenset({"tool.allowed", "tool.denied", "dispatch.sent"})
RESULTS: Final = frozenset({"tool.denied", "tool.completed", "dispatch.completed"})  # each call ends with one
ERROR: Final = "error: "


class RecordEnds(Exception):
    """Nothing more was recorded: the iteration was broken off here."""


class Tape:
    def __init__(self, record: Record, number: int, ledger: Ledger) -> None:
        self._ledger = ledger
        self._number = number
        attempt, again = _last_attempt(record.events, number)
        begin = attempt[0].sequence if attempt else 0
        self.recorded = Conversation.from_json(record.conversations[number])
        beside = [each for each in attempt if each in again or _by_agent(each)]
        self._uncounted = [each for each in beside if each.kind == "tool.allowed"]
        self._expected = [each for each in attempt if each.kind in COMPARED and each not in beside]
        self._position = 0
        self._started_at = attempt[0].at if attempt else record.execution.created_at
        self._log = [_as_event(each) for each in record.events if each.sequence < begin]
        done = {each.data.get("dispatch_id"): each.data for each in attempt if each.kind == "dispatch.completed"}
        sent = [each.data.get("dispatch_id") for each in attempt if each.kind == "dispatch.sent"]
        self._results = [done.get(each) for each in sent]
        self._dispatches = 0
        self._answers = [each for each in self.recorded.messages if each.role == "assistant"]
        self._node_tools = record.ground.tools
        self._allowed = [str(each.data.get("name")) for each in attempt if each.kind == "tool.allowed"]
        self.session: Session | None = None

    def finish(self) -> None:
        """Nothing was recorded beyond what was emitted, and the conversations are the same, word for word."""
        where = f"iteration {self._number}"
        rest = [each.kind for each in self._expected[self._position :]]
        self._ledger.same(f"{where}, after its end", rest, [], echo=True)
        assert self.session is not None
        pairs = zip(self.recorded.wire_messages(), self.session.conversation.wire_messages(), strict=False)
        for position, (recorded, replayed) in enumerate(pairs):
            self._ledger.same(f"{where}, message {position + 1}", recorded, replayed, echo=True)

    # ---- store ----

    async def save_inner_loop(
        self, execution_id: str, iteration: int, state: Mapping[str, Any], events: Sequence[Event] = ()
    ) -> None:
        await self.emit(*events)

    async def load_inner_loop(self, execution_id: str, iteration: int) -> Mapping[str, Any] | None:
        return None

    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        return [each for each in self._log if each.sequence > after][:limit]

    # ---- events ----

    async def emit(self, *events: Event) -> None:
        for event in events:
            self._add(event)
            if event.kind in COMPARED:
                self._compare(event)

    def _compare(self, event: Event) -> None:
        where = f"iteration {self._number}, {event.kind}"
        expected = self._next()
        recorded = None if expected is None else {"kind": expected.kind, **_shown(expected.kind, expected.data)}
        data = json.loads(json.dumps(event.data))
        replayed = {"kind": event.kind, **_shown(event.kind, data)}
        self._ledger.same(where, recorded, replayed, echo=event.kind not in DECISIONS)
        self._position += 1
        self._count_agents_calls()

    def _count_agents_calls(self) -> None:
        """What the container was allowed by itself before the next event counts for the rate limits."""
        following = self._next()
        while self._uncounted and (following is None or self._uncounted[0].sequence < following.sequence):
            event = self._uncounted.pop(0)
            self._add(_as_event(event))
            assert self.session is not None
            self.session.tools.rates.count(list(event.data.get("rules", ())), event.at.timestamp())

    def _add(self, event: Event) -> None:
        last = self._log[-1].sequence if self._log else 0
        self._log.append(replace(event, sequence=last + 1))

    def wake(self, execution_id: str) -> None:
        return None

    async def follow(self, execution_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        for event in self._log[after:]:
            yield event

    def _next(self) -> RecordedEvent | None:
        return self._expected[self._position] if self._position < len(self._expected) else None

    # ---- clock ----

    def now(self) -> datetime:
        following = self._next()
        if following is not None:
            return following.at
        return self._expected[-1].at if self._expected else self._started_at

    def monotonic(self) -> float:
        return self.now().timestamp()

    async def sleep(self, seconds: float) -> None:
        return None

    # ---- models ----

    async def ask(
        self,
        alias: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        context: ModelContext,
        journal: Journal,
    ) -> tuple[ModelReply, ModelUsage]:
        """The recorded answer; of one that was none to go on with (a refusal) only the event has the words."""
        event = self._next()
        data = event.data if event is not None and event.kind == "model.called" else {}
        finish = Finish(data.get("finish", Finish.STOP))
        usage = ModelUsage(context.iteration, str(data.get("alias", alias)), 1, 0, 0)
        position = sum(message.role == "assistant" for message in messages)
        if position < len(self._answers):
            answer = self._answers[position]
            return ModelReply(answer.content, answer.tool_calls, finish=finish), usage
        if finish is Finish.STOP or len(str(data.get("content", ""))) > REFUSAL_CHARACTERS_MAX:
            raise RecordEnds
        return ModelReply(str(data.get("content", "")), finish=finish), usage

    # ---- tools and files ----

    def tools(self) -> list[Tool]:
        """Those the node had, in their order: our own with their real arguments, those of tool servers as they came;
        all with the real policy and recorded results. A server's tool that came later is known by its being allowed."""
        own = {tool.name: tool for tool in [CMD_RUN, *fs_tools(Jobs()), web_tool(self._perform)]}
        names = dict.fromkeys([*self._node_tools, *self._allowed])
        unknown = {name: Tool(name, "", AnyArguments, self._perform, urls_named) for name in names if name not in own}
        found = [own.get(name) or unknown[name] for name in names]
        return [tool if tool is CMD_RUN else replace(tool, perform=self._perform) for tool in found]

    async def _perform(self, arguments: Any, context: ToolContext) -> str:
        assert self.session is not None
        position = sum(message.role == "tool" for message in self.session.conversation.messages)
        results = [message.content for message in self.recorded.messages if message.role == "tool"]
        if position >= len(results):
            raise RecordEnds
        if results[position].startswith(ERROR):
            raise Refused(results[position].removeprefix(ERROR))
        return results[position]

    def result_of(self, dispatch_id: str) -> dict[str, Any]:
        """The recorded result of the dispatch that was just sent, in its own words."""
        result = self._results[self._dispatches] if self._dispatches < len(self._results) else None
        if result is None:
            raise RecordEnds
        self._dispatches += 1
        return {**result, "dispatch_id": dispatch_id}

    def workspace(self, volume: Volume, attachment: Attachment | None = None) -> Workspace:
        raise AssertionError("a replay touches no files")


def _last_attempt(events: Sequence[RecordedEvent], number: int) -> tuple[list[RecordedEvent], list[RecordedEvent]]:
    """An iteration's events since it began, or since the world's last failure in it; and which of them were of calls
    that a daemon had under way when it died."""
    found: list[RecordedEvent] = []
    again: list[RecordedEvent] = []
    for event in events:
        if event.iteration != number:
            continue
        if event.kind == "iteration.resumed" and event.data.get("container") != "none":
            again += _unfinished([each for each in found if each not in again], event.data)
        elif event.kind in ("iteration.started", "iteration.retried", "iteration.resumed"):
            found, again = [], []
        found.append(event)
    return found, again


def _unfinished(events: Sequence[RecordedEvent], position: Mapping[str, Any]) -> list[RecordedEvent]:
    """What the loop told beyond the state that was stored, which has so many answers and results, and perhaps a
    dispatch without one."""
    answers, results, pending = int(position["answers"]), int(position["results"]), position["dispatch_id"]
    beyond = []
    for event in events:
        if event.kind not in COMPARED or _by_agent(event):
            continue
        if not answers and not results and pending is None:
            beyond.append(event)
        elif event.kind == "model.called":
            answers -= 1
        elif event.kind in RESULTS:
            results -= 1
        elif event.data.get("dispatch_id") == pending:
            pending = None
    return beyond


def _by_agent(event: RecordedEvent) -> bool:
    """Whether a process in the container called this tool by itself."""
    return event.data.get("caller") == "agent"


def _shown(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: data.get(key) for key in COMPARED[kind]}
    if kind == "model.called":  # what was asked beyond the bound was never answered
        shown["tool_calls"] = list(shown["tool_calls"] or ())[:CALLS_IN_ONE_ANSWER_MAX]
    return shown


def _as_event(event: RecordedEvent) -> Event:
    return Event(event.kind, event.at, None, event.iteration, event.data, event.sequence)
