"""The validators: whether an iteration's result is good enough, cheapest first, until one says no.

The rules to know: a judgement's reason is written for the model, which reads it in the next iteration. Patterns and
schemas run where they can be killed (`jobs.py`); commands run in a fresh container of kind validator, which never sees
the execution's token; judges are in `judges.py`. Failures of ours are exceptions, never a bad score.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aegis.domain.judging import Earlier
from aegis.domain.manifest import (
    ExitCodeValidator,
    JsonSchemaValidator,
    MultiJudgeValidator,
    RegexValidator,
    ScriptValidator,
    SemanticValidator,
    Validator,
)
from aegis.domain.panel import Finding, exit_code_finding, in_order, judgement, label
from aegis.domain.text import shorten
from aegis.domain.validation import Judgement, Verdict
from aegis.services.judging.candidate import Candidate, Unusable
from aegis.services.judging.jobs import JobFailed, Jobs
from aegis.services.judging.judges import Judges

OUTPUT_SHOWN: Final = 2_500
FENCED: Final = re.compile(r"\s*```[a-zA-Z]*\n(?P<body>.*?)\n?```\s*", re.DOTALL)


class Panel:
    def __init__(self, jobs: Jobs, judges: Judges) -> None:
        self._jobs = jobs
        self._judges = judges

    async def judge(
        self,
        validators: Sequence[Validator],
        candidate: Candidate,
        told: Callable[[Judgement], Awaitable[None]] | None = None,
    ) -> Verdict:
        """All opinions up to the first that did not pass. `told` hears each as it is given."""
        judgements: list[Judgement] = []
        earlier: list[Earlier] = []
        for position, validator in in_order(validators):
            finding = await self._finding(position, validator, candidate, earlier)
            judged = judgement(position, validator, finding)
            judgements.append(judged)
            if told is not None:
                await told(judged)
            if not judged.passed:
                break
            earlier.append(Earlier(judged.validator, judged.score, judged.passed, finding.reason))
        return Verdict(tuple(judgements))

    async def _finding(
        self, position: int, validator: Validator, candidate: Candidate, earlier: Sequence[Earlier]
    ) -> Finding:
        try:
            match validator:
                case ExitCodeValidator():
                    return exit_code_finding(validator, candidate.exit_code)
                case RegexValidator():
                    return await self._regex(validator, candidate)
                case JsonSchemaValidator():
                    return await self._json_schema(validator, candidate)
                case ScriptValidator():
                    return await _script(validator, candidate)
                case SemanticValidator() | MultiJudgeValidator():
                    return await self._judges.find(validator, label(position, validator), candidate, earlier)
        except Unusable as error:
            return Finding(0.0, str(error))

    async def _regex(self, validator: RegexValidator, candidate: Candidate) -> Finding:
        what, text = await candidate.target(validator.target)
        try:
            found = await self._jobs.found(validator.pattern, text)
        except JobFailed as error:
            raise Unusable(f"the pattern {validator.pattern!r} could not be applied to {what}: {error}") from None
        wanted = "has to match" if validator.must_match else "must not match"
        score = float(found is validator.must_match)
        return Finding(score, f"{what} {wanted} {validator.pattern!r}: {shorten(text, 500)}")

    async def _json_schema(self, validator: JsonSchemaValidator, candidate: Candidate) -> Finding:
        what, text = await candidate.target(validator.target)
        document = _document(what, text)
        try:
            errors = await self._jobs.schema_errors(validator.json_schema, document)
        except JobFailed as error:
            raise Unusable(f"{what} could not be checked: {error}") from None
        if not errors:
            return Finding(1.0, f"{what} satisfies the schema")
        return Finding(0.0, f"{what} does not satisfy the schema: {'; '.join(errors)}")


async def _script(validator: ScriptValidator, candidate: Candidate) -> Finding:
    result = await candidate.run_script(validator.command, validator.timeout_seconds)
    shown = " ".join(" ".join(validator.command).split())  # on one line, also when it is a whole program
    if result.timed_out:
        ending = f"was not done within {validator.timeout_seconds:g} s"
    else:
        ending = f"ended with exit code {result.exit_code}"
    output = shorten(result.output.strip(), OUTPUT_SHOWN, tail_share=0.75) or "(no output)"
    score = float(result.exit_code == 0 and not result.timed_out)
    return Finding(score, f"`{shorten(shown, 500)}` {ending}:\n{output}")


def _document(what: str, text: str) -> Any:
    """The JSON value; a model may have put it into a fence, alone."""
    fenced = FENCED.fullmatch(text)
    try:
        return json.loads(fenced["body"] if fenced else text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{what} is not JSON: {error}; it begins with {text[:200]!r}") from None
