"""The validators: whether an iteration's result is good enough, cheapest first, until one says no.

The rules to know: a judgement's reason is written for the model, which reads it in the next iteration. Patterns and
schemas run where they can be killed (`jobs.py`); commands run in a fresh container of kind validator, which never sees
the execution's token. Failures of ours are exceptions, never a bad score.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aegis.domain.manifest import (
    ExitCodeValidator,
    JsonSchemaValidator,
    RegexValidator,
    ScriptValidator,
    Validator,
)
from aegis.domain.text import shorten
from aegis.domain.validation import Judgement, Verdict
from aegis.errors import NotFound, Refused
from aegis.services.judging.jobs import JobFailed, Jobs
from aegis.services.workspaces import Workspaces

TARGET_BYTES_MAX: Final = 4 * 1024 * 1024
OUTPUT_SHOWN: Final = 2_500
COST: Final = ("exit_code", "regex", "json_schema", "script")
FENCED: Final = re.compile(r"\s*```[a-zA-Z]*\n(?P<body>.*?)\n?```\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ScriptResult:
    exit_code: int
    output: str
    timed_out: bool = False


class ScriptRunner(Protocol):
    """Runs a validator's command in a container of its own; WorldError when it could not be run at all."""

    async def __call__(self, command: tuple[str, ...], timeout_seconds: float) -> ScriptResult: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is judged: the final response, the files, how the agent's container ended (None: it had to be killed)."""

    final: str
    exit_code: int | None
    files: Workspaces
    run_script: ScriptRunner


class Unusable(Exception):
    """What is to be judged is not there or cannot be read; the text is the reason."""


Opinion = tuple[float, str]


class Panel:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def judge(
        self,
        validators: Sequence[Validator],
        candidate: Candidate,
        told: Callable[[Judgement], Awaitable[None]] | None = None,
    ) -> Verdict:
        """All opinions up to the first that did not pass. `told` hears each as it is given."""
        judgements = []
        for position, validator in sorted(enumerate(validators), key=lambda pair: COST.index(pair[1].type)):
            score, reason = await self._opinion(validator, candidate)
            passed = score >= validator.min_score
            judgement = Judgement(f"{validator.type}[{position}]", score, 1.0, passed, "" if passed else reason)
            judgements.append(judgement)
            if told is not None:
                await told(judgement)
            if not passed:
                break
        return Verdict(tuple(judgements))

    async def _opinion(self, validator: Validator, candidate: Candidate) -> Opinion:
        try:
            match validator:
                case ExitCodeValidator():
                    return _exit_code(validator, candidate)
                case RegexValidator():
                    return await self._regex(validator, candidate)
                case JsonSchemaValidator():
                    return await self._json_schema(validator, candidate)
                case ScriptValidator():
                    return await _script(validator, candidate)
        except Unusable as error:
            return 0.0, str(error)

    async def _regex(self, validator: RegexValidator, candidate: Candidate) -> Opinion:
        what, text = await _target(validator.target, candidate)
        try:
            found = await self._jobs.found(validator.pattern, text)
        except JobFailed as error:
            raise Unusable(f"the pattern {validator.pattern!r} could not be applied to {what}: {error}") from None
        wanted = "has to match" if validator.must_match else "must not match"
        return float(found is validator.must_match), f"{what} {wanted} {validator.pattern!r}: {shorten(text, 500)}"

    async def _json_schema(self, validator: JsonSchemaValidator, candidate: Candidate) -> Opinion:
        what, text = await _target(validator.target, candidate)
        document = _document(what, text)
        try:
            errors = await self._jobs.schema_errors(validator.json_schema, document)
        except JobFailed as error:
            raise Unusable(f"{what} could not be checked: {error}") from None
        return float(not errors), f"{what} does not satisfy the schema: {'; '.join(errors)}"


def _exit_code(validator: ExitCodeValidator, candidate: Candidate) -> Opinion:
    if candidate.exit_code is None:
        return 0.0, "the agent's container did not end after the final response"
    reason = f"the agent ended with exit code {candidate.exit_code}, wanted {validator.expected}"
    return float(candidate.exit_code == validator.expected), reason


async def _script(validator: ScriptValidator, candidate: Candidate) -> Opinion:
    result = await candidate.run_script(validator.command, validator.timeout_seconds)
    shown = " ".join(" ".join(validator.command).split())  # on one line, also when it is a whole program
    if result.timed_out:
        ending = f"was not done within {validator.timeout_seconds:g} s"
    else:
        ending = f"ended with exit code {result.exit_code}"
    output = shorten(result.output.strip(), OUTPUT_SHOWN, tail_share=0.75) or "(no output)"
    return float(result.exit_code == 0 and not result.timed_out), f"`{shorten(shown, 500)}` {ending}:\n{output}"


async def _target(path: str | None, candidate: Candidate) -> tuple[str, str]:
    """What it is called, and its text."""
    if path is None:
        return "the final response", candidate.final
    try:
        content = await candidate.files.read(path, bytes_max=TARGET_BYTES_MAX + 1)
    except NotFound:
        raise Unusable(f"the file {path} does not exist") from None
    except Refused as error:
        raise Unusable(f"the file {path} cannot be read: {error.message}") from None
    if len(content) > TARGET_BYTES_MAX:
        raise Unusable(f"the file {path} is longer than {TARGET_BYTES_MAX} bytes")
    return f"the file {path}", content.decode("utf-8", "replace")


def _document(what: str, text: str) -> Any:
    """The JSON value; a model may have put it into a fence, alone."""
    fenced = FENCED.fullmatch(text)
    try:
        return json.loads(fenced["body"] if fenced else text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{what} is not JSON: {error}; it begins with {text[:200]!r}") from None
