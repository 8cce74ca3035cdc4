"""What the next iteration is told: the verdict or the failure of this one, as text a model can act on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aegis.domain.iteration import Iteration, IterationEvent, IterationState
from aegis.domain.text import shorten
from aegis.domain.validation import Verdict

FEEDBACK_CHARACTERS_MAX = 8_000
REASON_CHARACTERS_MAX = 3_000


def judged(iteration: Iteration, verdict: Verdict, at: datetime, **changes: Any) -> Iteration:
    """The iteration with its verdict: success, or refining with what the next one is told."""
    event = IterationEvent.PASS if verdict.passed else IterationEvent.REFINE
    feedback = None if verdict.passed else feedback_on_verdict(iteration.number, verdict)
    return iteration.after(event, at, verdict=verdict, feedback=feedback, **changes)


def failed(iteration: Iteration, reason: str, code: str, at: datetime, **changes: Any) -> Iteration:
    """The iteration that came to no verdict, with what the next one is told."""
    feedback = feedback_on_failure(iteration.number, reason)
    return iteration.after(IterationEvent.FAIL, at, error=reason, error_code=code, feedback=feedback, **changes)


def feedback_on_verdict(number: int, verdict: Verdict) -> str:
    """For an iteration that ended by itself and did not pass: every opinion that was against it, with its reason, also
    that of a judge who was outvoted."""
    lines = [f"Attempt {number} was checked and did not pass:"]
    for judgement in verdict.judgements:
        if not judgement.passed:
            reason = shorten(judgement.reason or "no reason given", REASON_CHARACTERS_MAX)
            lines.append(f"- {judgement.validator} (score {judgement.score:.2f}): {reason}")
    for judgement in verdict.judgements:
        if judgement.passed and judgement.reason:
            lines.append(f"- {judgement.validator} {shorten(judgement.reason, REASON_CHARACTERS_MAX)}")
    passed = [judgement.validator for judgement in verdict.judgements if judgement.passed]
    if passed:
        lines.append(f"These checks passed: {', '.join(passed)}.")
    return shorten("\n".join(lines), FEEDBACK_CHARACTERS_MAX)


def feedback_on_failure(number: int, error: str) -> str:
    """For an iteration that came to no answer."""
    return shorten(f"Attempt {number} failed before it could be checked: {error}", FEEDBACK_CHARACTERS_MAX)


def summary_of(iterations: Sequence[Iteration]) -> str:
    """One line for people: why no iteration was good enough."""
    count = len(iterations)
    if not iterations:
        return "No iteration was made"
    last = iterations[-1]
    if last.state is IterationState.FAILED:
        why = last.error or "it failed"
    else:
        failed = [each for each in last.verdict.judgements if not each.passed] if last.verdict else []
        why = f"{failed[0].validator}: {failed[0].reason}" if failed else "it did not pass"
    made = "The only iteration" if count == 1 else f"None of {count} iterations passed; the last"
    verb = "did not pass" if count == 1 else "did not"
    return shorten(f"{made} {verb}: {why}", REASON_CHARACTERS_MAX)
