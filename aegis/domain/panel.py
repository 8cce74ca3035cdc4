"""What follows from what validators found: their order, whether each passed, and the words the model is told.

The rule to know: nothing here asks anything. What was found (`Finding`) goes in and the judgement comes out, so a
verdict can be reached again from what was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aegis.domain.consensus import Agreement, agree
from aegis.domain.manifest import (
    ConsensusMode,
    ExitCodeValidator,
    MultiJudgeValidator,
    SemanticValidator,
    Validator,
    judges_of,
)
from aegis.domain.text import shorten
from aegis.domain.validation import Judgement, Opinion

COST: Final = ("exit_code", "regex", "json_schema", "script", "semantic", "multi_judge")
OPINIONS_CHARACTERS_MAX: Final = 2_400  # of all judges together, so that one validator's reason holds them all
OPINION_CHARACTERS_MIN: Final = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """What a validator found. `reason` explains the score, also a good one: later judges are told."""

    score: float
    reason: str
    confidence: float = 1.0
    opinions: tuple[Opinion, ...] = ()
    excused: bool = False  # nobody could be asked, and the manifest lets that pass


def in_order(validators: Sequence[Validator]) -> list[tuple[int, Validator]]:
    """With their positions in the manifest, cheapest first: programs, models, agents."""
    return sorted(enumerate(validators), key=lambda pair: _cost(pair[1]))


def label(position: int, validator: Validator) -> str:
    return f"{validator.type}[{position}]"


def judgement(position: int, validator: Validator, finding: Finding) -> Judgement:
    """Whether it is good enough, and why not. A judge that was outvoted is told also when it passed."""
    passed = finding.score >= validator.min_score
    reason = "" if passed else finding.reason
    if isinstance(validator, SemanticValidator | MultiJudgeValidator):
        passed = finding.excused or (passed and finding.confidence >= validator.min_confidence)
        reason = finding.reason
    name = label(position, validator)
    return Judgement(name, finding.score, finding.confidence, passed, reason, finding.opinions)


def excused(why: str) -> Finding:
    """For `fallback_on_unavailable`."""
    return Finding(1.0, f"not judged, and passed by fallback_on_unavailable: {why}", confidence=0.0, excused=True)


def from_opinions(validator: SemanticValidator | MultiJudgeValidator, opinions: Sequence[Opinion]) -> Finding:
    """What the judges that answered (at least one) say together, in words."""
    mode, n = ConsensusMode.WEIGHTED_AVERAGE, None
    if isinstance(validator, MultiJudgeValidator):
        mode, n = validator.consensus, validator.n
    found = agree(opinions, mode, min_score=validator.min_score, min_confidence=validator.min_confidence, n=n)
    return Finding(found.score, _words(validator, opinions, found), found.confidence, tuple(opinions))


def _words(validator: SemanticValidator | MultiJudgeValidator, opinions: Sequence[Opinion], found: Agreement) -> str:
    """ "" when all are content. Those that are not come first: theirs is what has to be done."""
    if found.passed and not found.dissent:
        return ""
    unsure = (
        f"the judgement is not sure enough (confidence {found.confidence:.2f}, wanted {validator.min_confidence:.2f})"
    )
    if len(judges_of(validator)) == 1 and len(opinions) == 1:
        [one] = opinions
        return f"{unsure}: {one.reasoning}" if found.in_favour else f"wanted {validator.min_score:.2f}: {one.reasoning}"
    against = [each for each in opinions if each.score < validator.min_score]
    content = [each for each in opinions if each.score >= validator.min_score]
    mode = validator.consensus.value if isinstance(validator, MultiJudgeValidator) else "one judge"
    if found.passed:
        head = f"passed by {mode}, against {len(against)} of {len(opinions)} judges"
        return "\n".join([f"{head}:", *_lines(against, len(against))])
    share = f"{len(against)} of {len(opinions)} judges are against it"
    head = unsure if found.in_favour else f"{share} ({mode}, wanted {validator.min_score:.2f})"
    return "\n".join([f"{head}:", *_lines(against, len(opinions)), *_lines(content, len(opinions), " is content")])


def _lines(opinions: Sequence[Opinion], sharing: int, note: str = "") -> list[str]:
    room = max(OPINION_CHARACTERS_MIN, OPINIONS_CHARACTERS_MAX // max(sharing, 1))
    lines = []
    for each in opinions:
        how = f"score {each.score:.2f}, confidence {each.confidence:.2f}"
        lines.append(f"- {each.judge}{note} ({how}): {shorten(each.reasoning, room)}")
    return lines


def too_few(validator: Validator, name: str, answered: int, failures: Sequence[str]) -> str:
    """Why there is no opinion."""
    asked = len(judges_of(validator))
    return f"{answered} of {asked} judges of {name} answered, wanted {requirement(validator)}: {'; '.join(failures)}"


def exit_code_finding(validator: ExitCodeValidator, exit_code: int | None) -> Finding:
    """None: the agent's container had to be killed."""
    if exit_code is None:
        return Finding(0.0, "the agent's container did not end after the final response")
    reason = f"the agent ended with exit code {exit_code}, wanted {validator.expected}"
    return Finding(float(exit_code == validator.expected), reason)


def _cost(validator: Validator) -> tuple[bool, int]:
    return any(judge.agent is not None for judge in judges_of(validator)), COST.index(validator.type)


def requirement(validator: Validator) -> int:
    """How many judges have to answer."""
    return validator.judges_required if isinstance(validator, MultiJudgeValidator) else 1
