"""The inner loop's state: everything that decides what happens next, as a value that goes to JSON and back.

The rule to know: nothing else is remembered. What the next step is follows from this value alone (`next_call`,
`pending`, `final`), so a daemon that starts again goes on where the stored value stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from aegis.ports import Message, ToolCall

Json = dict[str, Any]

CALLS_IN_ONE_ANSWER_MAX: Final = 32
CONVERSATION_CHARACTERS_MAX: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A command on its way to the container: sent until its result is here."""

    dispatch_id: str
    call_id: str  # the tool call it answers
    command: str
    args: tuple[str, ...]
    cwd: str
    timeout_seconds: float
    max_output_bytes: int

    def to_wire(self, environment: Mapping[str, str]) -> Json:
        """PRODUCT's dispatch message, word for word. `environment` is not kept: it may hold a token."""
        return {
            "type": "dispatch",
            "dispatch_id": self.dispatch_id,
            "action": "exec",
            "command": self.command,
            "args": list(self.args),
            "cwd": self.cwd,
            "env_additions": dict(environment),
            "timeout_secs": self.timeout_seconds,
            "max_output_bytes": self.max_output_bytes,
        }


@dataclass(frozen=True, slots=True)
class Conversation:
    messages: tuple[Message, ...]
    rounds: int = 0  # answers of the model that called tools
    tool_calls: int = 0  # executed
    pending: Dispatch | None = None
    taken: tuple[str, ...] = ()  # dispatch ids whose result has been taken
    final: str | None = None
    contacted: bool = False  # the container has asked for its task

    @property
    def next_call(self) -> ToolCall | None:
        """The first call of the model's last answer that has no result yet."""
        for index in range(len(self.messages) - 1, -1, -1):
            message = self.messages[index]
            if message.role == "assistant":
                answered = len(self.messages) - 1 - index
                return message.tool_calls[answered] if answered < len(message.tool_calls) else None
            if message.role != "tool":
                return None
        return None

    @property
    def position(self) -> Json:
        """Where it stands: how many answers and results are in it, and the dispatch that has none yet."""
        roles = [message.role for message in self.messages]
        pending = None if self.pending is None else self.pending.dispatch_id
        return {"answers": roles.count("assistant"), "results": roles.count("tool"), "dispatch_id": pending}

    @property
    def characters(self) -> int:
        return sum(len(message.content) for message in self.messages)

    def with_answer(self, content: str, calls: tuple[ToolCall, ...]) -> Conversation:
        """The model's answer; without calls it is the final one. Calls beyond the bound are not kept."""
        message = Message("assistant", content, calls[:CALLS_IN_ONE_ANSWER_MAX])
        messages = (*self.messages, message)
        if not calls:
            return replace(self, messages=messages, final=content)
        return replace(self, messages=messages, rounds=self.rounds + 1)

    def with_result(self, call_id: str, text: str) -> Conversation:
        """The result of the next call."""
        message = Message("tool", text, tool_call_id=call_id)
        return replace(self, messages=(*self.messages, message), tool_calls=self.tool_calls + 1)

    def with_dispatch_taken(self, text: str) -> Conversation:
        """The result of the pending dispatch, which is then taken: its id is never taken again."""
        if self.pending is None:
            raise ValueError("no dispatch is pending")
        taken = (*self.taken, self.pending.dispatch_id)
        return replace(self.with_result(self.pending.call_id, text), pending=None, taken=taken)

    def wire_messages(self) -> list[Json]:
        return [_message_to_json(message) for message in self.messages]

    def to_json(self) -> Json:
        return {
            "messages": self.wire_messages(),
            "rounds": self.rounds,
            "tool_calls": self.tool_calls,
            "pending": None if self.pending is None else asdict(self.pending),
            "taken": list(self.taken),
            "final": self.final,
            "contacted": self.contacted,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Conversation:
        values = dict(data)
        values["messages"] = tuple(_message_from_json(each) for each in data["messages"])
        values["taken"] = tuple(data["taken"])
        if data["pending"] is not None:
            values["pending"] = Dispatch(**{**data["pending"], "args": tuple(data["pending"]["args"])})
        return cls(**values)


def _message_to_json(message: Message) -> Json:
    data: Json = {"role": message.role, "content": message.content}
    if message.tool_calls:
        data["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
            | ({"arguments_error": call.arguments_error} if call.arguments_error else {})
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        data["tool_call_id"] = message.tool_call_id
    return data


def _message_from_json(data: Mapping[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in data.get("tool_calls", ()))
    return Message(data["role"], data["content"], calls, data.get("tool_call_id"))
