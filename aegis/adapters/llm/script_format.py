"""The format of a script (docs/models.md): what a turn may say, when it counts, and where a file is wrong.

The rule to know: which turn it is follows from the request alone (agent, iteration, answers so far, attempt, the last
message), never from what was asked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aegis.errors import Refused
from aegis.ports import Finish

SCRIPT_BYTES_MAX = 4 * 1024 * 1024
FAULTS_MAX = 10  # told at once

ErrorName = Literal[
    "rate_limit",
    "overloaded",
    "server_error",
    "timeout",
    "unreachable",
    "stream_cut",
    "unusable",
    "context_too_long",
    "credentials",
    "refused",
]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Call(Part):
    """`arguments_text` is what a model wrote, however broken; `arguments_error` is only its outcome."""

    name: str
    arguments: dict[str, Any] = {}
    arguments_text: str | None = None
    arguments_error: str = ""


class Failure(Part):
    error: ErrorName
    retry_after_seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None


class Usage(Part):
    input_tokens: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)] = 0


class Turn(Part):
    content: str = ""
    tool_calls: tuple[Call, ...] = ()
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    error: ErrorName | None = None  # every attempt
    retry_after_seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    failures: tuple[Failure, ...] = ()  # the first attempts, one each
    finish: Finish = Finish.STOP
    usage: Usage | None = None


class When(Part):
    """Everything that is said has to hold. `contains` is text of the conversation's last message."""

    agent: str | None = None
    iteration: Annotated[int, Field(ge=1)] | None = None
    turn: Annotated[int, Field(ge=1)] | None = None
    contains: str | None = None

    def holds(self, agent: str, iteration: int, turn: int, last: str) -> bool:
        return (
            (self.agent is None or fnmatchcase(agent, self.agent))
            and self.iteration in (None, iteration)
            and self.turn in (None, turn)
            and (self.contains is None or self.contains in last)
        )


class Answer(Turn):
    when: When = When()


class ScriptedIteration(Part):
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]


class AgentScript(Part):
    iterations: Annotated[tuple[ScriptedIteration, ...], Field(min_length=1)]


class Script(Part):
    answers: tuple[Answer, ...] = ()  # asked first; the first that holds
    iterations: tuple[ScriptedIteration, ...] = ()
    agents: dict[str, AgentScript] = {}


def parse(data: bytes, source: str) -> Script:
    """Refused, with every fault, its line and its place."""
    if len(data) > SCRIPT_BYTES_MAX:
        raise Refused(f"The script {source} is larger than {SCRIPT_BYTES_MAX} bytes")
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
        document = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Refused(f"The script {source} is no YAML: {error}") from error
    try:
        return Script.model_validate(document)
    except ValidationError as error:
        faults = [_fault(root, detail["loc"], detail["msg"]) for detail in error.errors(include_url=False)]
        raise Refused(
            f"The script {source} cannot be used: {'; '.join(faults[:FAULTS_MAX])}", next_step="docs/models.md"
        ) from error


def _fault(root: yaml.Node | None, location: Sequence[str | int], message: str) -> str:
    path = ".".join(map(str, location)) or "the file"
    return f"line {_line(root, location)}: {path}: {message}"


def _line(node: yaml.Node | None, location: Sequence[str | int]) -> int:
    """Of the innermost node that is there: a missing key is missed where its mapping begins."""
    line = 1
    for part in (None, *location):
        if part is not None:
            node = _child(node, part)
        if node is None:
            break
        line = node.start_mark.line + 1
    return line


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    return None
