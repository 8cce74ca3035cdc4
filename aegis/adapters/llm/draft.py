"""An answer while it arrives, and what becomes of it when it is whole. Both SDKs' streams are put together here.

The rule to know: an answer counts from the moment its provider has said why it ended. A stream that stops before that,
without an error and with text that looks complete, is a cut one, and nothing of it is taken.
"""

from __future__ import annotations

import json
from typing import Any, Final

from aegis.adapters.llm.arguments import CUT, read_arguments
from aegis.adapters.llm.failures import Provider
from aegis.adapters.llm.names import ToolNames
from aegis.ports import Finish, ModelReply, ToolCall

ANSWER_CHARACTERS_MAX: Final = 4_000_000  # a server that never stops is stopped
REFUSALS: Final = frozenset({"refusal", "content_filter"})
LENGTHS: Final = frozenset({"length", "max_tokens", "model_context_window_exceeded"})


class Draft:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[object, _CallDraft] = {}
        self._characters = 0
        self.empty = True  # nothing has come at all
        self.finish: str | None = None
        self.input_tokens = 0
        self.output_tokens = 0

    def text(self, piece: Any) -> None:
        if isinstance(piece, str) and piece:
            self._count(piece)
            self._texts.append(piece)

    def refusal(self, piece: Any) -> None:
        if isinstance(piece, str) and piece:
            self._count(piece)
            self._refusals.append(piece)

    def call(self, key: object, *, id: Any = None, name: Any = None, arguments: Any = None) -> None:
        """A piece of the call that `key` names within this answer; pieces of the arguments follow each other."""
        draft = self._calls.setdefault(key, _CallDraft())
        draft.id = draft.id or (id if isinstance(id, str) else "")
        draft.name = draft.name or (name if isinstance(name, str) else "")
        if isinstance(arguments, str):
            self._count(arguments)
            draft.pieces.append(arguments)
        elif arguments is not None:
            draft.value = arguments  # some servers send the object itself instead of its text

    def reply(self, names: ToolNames) -> ModelReply:
        """ModelFailed when it is no whole answer."""
        if self.empty:
            raise self._provider.unusable("nothing")
        if self.finish is None:
            raise self._provider.cut("it ended without saying why")
        finish = Finish.STOP
        if self.finish in REFUSALS or self._refusals:
            finish = Finish.REFUSAL
        elif self.finish in LENGTHS:
            finish = Finish.LENGTH
        drafts = [] if finish is Finish.REFUSAL else list(self._calls.values())
        calls = [draft.read(index, names) for index, draft in enumerate(drafts)]
        if calls and finish is Finish.LENGTH:  # the limit fell into the last one
            calls[-1] = ToolCall(calls[-1].id, calls[-1].name, {}, CUT)
        content = "".join(self._texts) or "".join(self._refusals)
        return ModelReply(content, tuple(calls), self.input_tokens, self.output_tokens, finish)

    def _count(self, piece: str) -> None:
        self._characters += len(piece)
        if self._characters > ANSWER_CHARACTERS_MAX:
            raise self._provider.unusable(f"more than {ANSWER_CHARACTERS_MAX} characters")


class _CallDraft:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.value: Any = None

    def read(self, index: int, names: ToolNames) -> ToolCall:
        text = "".join(self.pieces)
        arguments, error = read_arguments(text or (json.dumps(self.value) if self.value is not None else "{}"))
        return ToolCall(self.id or f"call_{index}", names.ours(self.name), arguments, error)
