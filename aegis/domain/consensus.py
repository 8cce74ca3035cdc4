"""From several judges' opinions to one: the four ways, and who was outvoted.

An opinion is *for* when its score reaches `min_score`. Means are weighted by the judges' weights.

| mode | score | confidence | the judges are for it when |
|---|---|---|---|
| weighted_average | the mean of all | the mean of all | the mean reaches `min_score` |
| majority | the mean of the side that won | the mean of that side | those for have more than half of the weight |
| unanimous | the lowest | the lowest | all are for |
| best_of_n | the mean of the n highest | the mean of those | that mean reaches `min_score` |

A tie of weights is no majority. Of equal scores best_of_n takes the more confident, then the earlier judge. Whatever
the mode, it passes only when the confidence reaches `min_confidence` too; and the score is below `min_score` exactly
when the judges are against it, so the lowest score of all validators decides as it does without judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aegis.domain.manifest import ConsensusMode
from aegis.domain.validation import Opinion


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the judges say together. `dissent`: those whose own answer was the other one, in their order."""

    score: float
    confidence: float
    in_favour: bool  # by the scores alone
    passed: bool  # and confident enough
    dissent: tuple[Opinion, ...]


def agree(
    opinions: Sequence[Opinion],
    mode: ConsensusMode,
    *,
    min_score: float,
    min_confidence: float = 0.0,
    n: int | None = None,
) -> Agreement:
    """`opinions`: at least one. `n`: of best_of_n; fewer opinions than n are all there are."""
    ahead = [each for each in opinions if each.score >= min_score]
    behind = [each for each in opinions if each.score < min_score]
    if mode is ConsensusMode.UNANIMOUS:
        score, confidence = min(each.score for each in opinions), min(each.confidence for each in opinions)
    else:
        counted = opinions
        if mode is ConsensusMode.MAJORITY:
            counted = ahead if _weight(ahead) > _weight(behind) else behind
        elif mode is ConsensusMode.BEST_OF_N:
            counted = sorted(opinions, key=lambda each: (-each.score, -each.confidence))[: n or 1]
        score = _mean(counted, [each.score for each in counted])
        confidence = _mean(counted, [each.confidence for each in counted])
    in_favour = score >= min_score
    dissent = tuple(behind if in_favour else ahead)
    return Agreement(score, confidence, in_favour, in_favour and confidence >= min_confidence, dissent)


def _weight(opinions: Sequence[Opinion]) -> float:
    return sum(each.weight for each in opinions)


def _mean(opinions: Sequence[Opinion], values: Sequence[float]) -> float:
    """Never outside of the values it is of, whatever floating point makes of the sum."""
    total = sum(each.weight * value for each, value in zip(opinions, values, strict=True)) / _weight(opinions)
    return min(max(total, min(values)), max(values))
