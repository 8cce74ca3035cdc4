"""Judging an iteration: each validator gives a score and a confidence; the lowest score decides (`Verdict`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Opinion:
    """One judge's answer. `score` and `confidence` are 0..1; `weight` is what the manifest gives it among others."""

    judge: str
    score: float
    confidence: float
    reasoning: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """One validator's opinion. `score` and `confidence` are 0..1; `reason` is written for the model to act on: why it
    did not pass, or, when judges were outvoted, what those had to say."""

    validator: str  # its type and position, e.g. "script[2]"
    score: float
    confidence: float
    passed: bool
    reason: str = ""
    opinions: tuple[Opinion, ...] = ()  # of the judges that answered, in the manifest's order

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Judgement:
        """What `dataclasses.asdict` made, also of a version before there were opinions."""
        values = dict(data)
        values["opinions"] = tuple(Opinion(**each) for each in values.get("opinions", ()))
        return cls(**values)


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
