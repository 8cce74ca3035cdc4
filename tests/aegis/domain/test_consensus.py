"""Several opinions to one: each mode as its row of the table says, and what holds for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.domain.consensus import agree
from aegis.domain.manifest import ConsensusMode
from aegis.domain.validation import Opinion

UNIT = st.floats(0, 1)
OPINIONS = st.lists(
    st.builds(Opinion, st.sampled_from("abc"), UNIT, UNIT, st.just("because"), st.floats(0.001, 1000)),
    min_size=1,
    max_size=6,
)
MODES = st.sampled_from(ConsensusMode)


def opinions(*rows: tuple[float, float, float]) -> list[Opinion]:
    """Each (score, confidence, weight)."""
    return [Opinion(f"j{n}", score, confidence, "", weight) for n, (score, confidence, weight) in enumerate(rows)]


@pytest.mark.parametrize(
    ("mode", "rows", "n", "score", "confidence", "passed", "dissent"),
    [
        ("weighted_average", [(1, 1, 1), (0, 0.5, 1)], None, 0.5, 0.75, False, ["j0"]),
        ("weighted_average", [(1, 1, 3), (0, 0.2, 1)], None, 0.75, 0.8, True, ["j1"]),
        ("majority", [(0.9, 0.8, 1), (0.7, 0.6, 1), (0.1, 1, 1)], None, 0.8, 0.7, True, ["j2"]),
        ("majority", [(1, 1, 1), (0.2, 0.6, 1)], None, 0.2, 0.6, False, ["j0"]),  # a tie is no majority
        ("majority", [(1, 1, 1), (0.2, 0.6, 1), (0.4, 0.8, 1)], None, 0.3, 0.7, False, ["j0"]),
        ("majority", [(1, 1, 5), (0, 1, 2), (0, 1, 2)], None, 1.0, 1.0, True, ["j1", "j2"]),  # weights, not heads
        ("unanimous", [(0.9, 0.5, 1), (0.8, 0.9, 9)], None, 0.8, 0.5, True, []),
        ("unanimous", [(0.9, 0.5, 100), (0.6, 0.9, 1)], None, 0.6, 0.5, False, ["j0"]),
        ("best_of_n", [(0.2, 1, 1), (0.9, 0.4, 1), (0.8, 0.6, 1)], 2, 0.85, 0.5, True, ["j0"]),
        ("best_of_n", [(0.2, 1, 1), (0.9, 0.4, 1)], 1, 0.9, 0.4, True, ["j0"]),
        ("best_of_n", [(0.9, 0.1, 1), (0.9, 0.4, 1)], 1, 0.9, 0.4, True, []),  # of equals the more confident
        ("best_of_n", [(0.2, 0.4, 1)], 2, 0.2, 0.4, False, []),  # fewer than n: all there are
    ],
)
def test_each_mode_does_what_its_row_says(
    mode: str,
    rows: list[tuple[float, float, float]],
    n: int | None,
    score: float,
    confidence: float,
    passed: bool,
    dissent: list[str],
) -> None:
    found = agree(opinions(*rows), ConsensusMode(mode), min_score=0.7, n=n)
    assert (found.score, found.confidence) == (pytest.approx(score), pytest.approx(confidence))
    assert (found.passed, found.in_favour) == (passed, passed)
    assert [each.judge for each in found.dissent] == dissent


def test_a_score_that_nobody_is_sure_of_does_not_pass() -> None:
    found = agree(opinions((1, 0.5, 1)), ConsensusMode.MAJORITY, min_score=0.7, min_confidence=0.6)
    assert (found.in_favour, found.passed) == (True, False)


@given(OPINIONS, MODES, UNIT, st.integers(1, 6))
def test_the_result_lies_within_the_opinions_and_the_score_says_who_won(
    all_of_them: list[Opinion], mode: ConsensusMode, min_score: float, n: int
) -> None:
    found = agree(all_of_them, mode, min_score=min_score, n=n)
    scores = [each.score for each in all_of_them]
    assert min(scores) <= found.score <= max(scores)
    assert 0 <= found.confidence <= 1
    assert found.in_favour is (found.score >= min_score)
    assert all((each.score >= min_score) is not found.in_favour for each in found.dissent)


@given(OPINIONS, UNIT)
def test_unanimous_passes_only_what_every_other_mode_passes(all_of_them: list[Opinion], min_score: float) -> None:
    def passes(mode: ConsensusMode) -> bool:
        return agree(all_of_them, mode, min_score=min_score, n=1).passed

    if passes(ConsensusMode.UNANIMOUS):
        assert all(passes(mode) for mode in ConsensusMode)


@given(OPINIONS, MODES, UNIT, st.integers(1, 6))
def test_a_better_opinion_never_makes_it_worse(
    all_of_them: list[Opinion], mode: ConsensusMode, min_score: float, n: int
) -> None:
    first = all_of_them[0]
    better = [Opinion(first.judge, 1.0, first.confidence, "", first.weight), *all_of_them[1:]]
    if agree(all_of_them, mode, min_score=min_score, n=n).in_favour:
        assert agree(better, mode, min_score=min_score, n=n).in_favour
