"""What the next iteration, and the operator, are told."""

from __future__ import annotations

from aegis.domain.briefing import system_prompt, task_prompt
from aegis.domain.iteration import IterationState
from aegis.domain.refinement import FEEDBACK_CHARACTERS_MAX, feedback_on_failure, feedback_on_verdict, summary_of
from aegis.domain.text import shorten
from aegis.domain.validation import Judgement, Verdict
from tests.support import samples

BAD = Judgement("script[1]", 0.0, 1.0, False, "`pytest` ended with exit code 1")
GOOD = Judgement("exit_code[0]", 1.0, 1.0, True)


def test_feedback_names_what_failed_and_what_passed() -> None:
    feedback = feedback_on_verdict(2, Verdict((GOOD, BAD)))
    assert "Attempt 2" in feedback
    assert "script[1] (score 0.00): `pytest` ended with exit code 1" in feedback
    assert "These checks passed: exit_code[0]." in feedback


def test_a_judge_who_was_outvoted_is_heard_when_another_check_fails() -> None:
    outvoted = Judgement(
        "multi_judge[0]", 0.9, 1.0, True, "passed by majority, against 1 of 3 judges:\n- ada: no tests"
    )
    feedback = feedback_on_verdict(1, Verdict((outvoted, BAD)))
    assert "- multi_judge[0] passed by majority, against 1 of 3 judges:\n- ada: no tests" in feedback


def test_feedback_has_a_bound_and_says_what_it_left_out() -> None:
    long = Judgement("script[0]", 0.0, 1.0, False, "x" * 100_000)
    feedback = feedback_on_verdict(1, Verdict((long,)))
    assert len(feedback) < FEEDBACK_CHARACTERS_MAX
    assert "characters left out" in feedback
    assert len(feedback_on_failure(1, "y" * 100_000)) < FEEDBACK_CHARACTERS_MAX + 100


def test_the_task_of_a_later_iteration_carries_the_feedback_and_the_first_does_not() -> None:
    manifest = samples.manifest(instruction="Write a program.")
    assert task_prompt(manifest, "In C.", 1, None).split() == ["Write", "a", "program.", "In", "C."]
    assert "it crashed" in task_prompt(manifest, "In C.", 2, "it crashed")


def test_the_frame_names_the_directories_that_stay() -> None:
    text = system_prompt(samples.manifest(description="Writes C."), ["/workspace", "/data"])
    assert "Writes C." in text
    assert "/workspace, /data" in text


def test_the_summary_of_an_execution_says_how_often_and_why() -> None:
    refined = samples.iteration("e", 1, state=IterationState.REFINING, verdict=Verdict((GOOD, BAD)))
    failed = samples.iteration("e", 2, state=IterationState.FAILED, error="out of memory")
    assert summary_of([refined]) == "The only iteration did not pass: script[1]: `pytest` ended with exit code 1"
    assert summary_of([refined, failed]) == "None of 2 iterations passed; the last did not: out of memory"


def test_shortened_text_keeps_head_and_tail() -> None:
    assert shorten("abc", 3) == "abc"
    short = shorten("a" * 50 + "b" * 50, 20, tail_share=0.75)
    assert short.startswith("aaaaa\n[... 80 characters left out ...]\n")
    assert short.endswith("b" * 15)
