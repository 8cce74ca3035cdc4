"""Validators that ask judges: what is refused, with its place and the reason."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.documents import ManifestError, load_manifest
from aegis.domain.manifest import MultiJudgeValidator, SemanticValidator
from tests.support.manifests import manifest

VALIDATION = "spec.execution.validation"


def validators(validation: Any) -> Any:
    return load_manifest(manifest({VALIDATION: validation}), "agent.yaml").manifest.execution.validators


def refusal(validator: dict[str, Any]) -> str:
    with pytest.raises(ManifestError) as caught:
        validators([validator])
    return str(caught.value)


def test_the_map_form_asks_the_judge_last() -> None:
    found = validators(
        {"system": {"must_succeed": True}, "semantic": {"threshold": 0.8, "prompt": "Good?", "model": "fast"}}
    )
    assert [each.type for each in found] == ["exit_code", "semantic"]
    semantic = found[1]
    assert isinstance(semantic, SemanticValidator)
    assert (semantic.min_score, semantic.criteria, semantic.judge.model_alias) == (0.8, "Good?", "fast")


def test_judges_are_agents_by_their_names_or_what_their_keys_say() -> None:
    [panel] = validators([{"type": "multi_judge", "judges": ["ada", {"model": "fast", "name": "bob", "weight": 3}]}])
    assert isinstance(panel, MultiJudgeValidator)
    assert [(each.shown, each.agent, each.model_alias, each.weight) for each in panel.judges] == [
        ("ada", "ada", None, 1.0),
        ("bob", None, "fast", 3.0),
    ]


@pytest.mark.parametrize(
    ("changes", "required"),
    [
        ({}, 2),
        ({"consensus": "unanimous"}, 3),
        ({"consensus": "best_of_n", "n": 1}, 1),
        ({"min_judges_required": 3}, 3),
    ],
)
def test_how_many_judges_have_to_answer_follows_from_the_mode(changes: dict[str, Any], required: int) -> None:
    [panel] = validators([{"type": "multi_judge", "judges": ["a", "b", "c"], **changes}])
    assert panel.judges_required == required


PANEL: dict[str, Any] = {"type": "multi_judge", "judges": ["ada", "bob"]}


@pytest.mark.parametrize(
    ("validator", "said"),
    [
        ({"type": "multi_judge"}, "spec.execution.validation[0].judges: found nothing, wanted one to 16 judges"),
        ({"type": "multi_judge", "judges": []}, "wanted one to 16 judges"),
        (
            {**PANEL, "consensus": "best_of_n"},
            "[0].n: found nothing, wanted with best_of_n how many judges count, 1 to 2",
        ),
        ({**PANEL, "consensus": "best_of_n", "n": 3}, "at most 2: there are no more judges"),
        ({**PANEL, "n": 1}, "no n unless consensus is best_of_n"),
        ({**PANEL, "min_judges_required": 3}, "at most 2: there are no more judges"),
        ({**PANEL, "consensus": "vote"}, "one of weighted_average, majority, unanimous, best_of_n"),
        ({**PANEL, "judges": ["ada", "ada"]}, "another name than judge 1 has"),
        ({**PANEL, "judges": [{"agent": "ada", "model": "fast"}]}, "either a model or an agent"),
        ({**PANEL, "judges": [{"model": "fast", "weight": 0}]}, "greater than 0"),
        ({**PANEL, "judge_agent": "ada"}, "no such key here"),
        ({"type": "semantic", "judge_agent": "ada", "model": "fast"}, "either a model or an agent, and line"),
        ({"type": "semantic", "criteria": "{{respones}}"}, "there is no respones"),
        ({"type": "semantic", "criteria": "{{#each files}}{{pth}}{{/each}}"}, "line 1, column 16: there is no pth"),
        ({"type": "semantic", "min_confidence": 2}, "less than or equal to 1"),
        ({"type": "semantic", "pattern": "a"}, "no such key here"),
        ({"type": "semantic", "target": "/w/a", "targets": ["/w/b"]}, "either target or targets"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(validator: dict[str, Any], said: str) -> None:
    assert said in refusal(validator)
