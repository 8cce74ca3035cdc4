"""Judging an iteration: each validator gives a score and a confidence; the lowest score decides (`Verdict`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """One validator's opinion. `score` and `confidence` are 0..1; `reason` is written for the model to act on."""

    validator: str  # its type and position, e.g. "script[2]"
    score: float
    confidence: float
    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All opinions in the order they were asked; asking stops at the first that did not pass (cheapest first)."""

    judgements: tuple[Judgement, ...]

    @property
    def passed(self) -> bool:
        return all(judgement.passed for judgement in self.judgements)

    @property
    def score(self) -> float:
        return min((judgement.score for judgement in self.judgements), default=1.0)
