"""What the next iteration is told: the verdict or the failure of this one, as text a model can act on."""

from __future__ import annotations

from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.text import shorten
from aegis.domain.validation import Verdict

FEEDBACK_CHARACTERS_MAX = 8_000
REASON_CHARACTERS_MAX = 3_000


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


def summary_of(iterations: list[Iteration]) -> str:
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
