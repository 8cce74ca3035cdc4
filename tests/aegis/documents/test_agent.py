"""Whole manifests: all mistakes at once, what contradicts itself, and where every value came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from aegis.documents import ManifestError, load_manifest
from aegis.documents.agent_table import AGENT_TABLE
from aegis.domain.manifest import AgentManifest
from tests.support.manifests import VOLUME, manifest

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "deploy" / "agents").glob("*.yaml"))

FIVE_MISTAKES = """\
apiVersion: 100monkeys.ai/v1
kind: Agent
metadata:
  name: Coder
spec:
  runtime:
    language: python
    version: 3.10
  enviroment:
    A: "1"
  resources:
    cpu_quota: 1000
  volumes:
    - name: workspace
      mount_path: workspace
"""


def problems(text: str) -> list[tuple[str, int]]:
    with pytest.raises(ManifestError) as caught:
        load_manifest(text, "agent.yaml")
    return [(problem.path, problem.line) for problem in caught.value.problems]


def refusal(changes: dict[str, Any]) -> str:
    """The text of a manifest that has one problem."""
    with pytest.raises(ManifestError) as caught:
        load_manifest(manifest(changes), "agent.yaml")
    assert len(caught.value.problems) == 1, str(caught.value)
    return str(caught.value)


def test_five_mistakes_are_five_problems_with_path_line_found_and_wanted() -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(FIVE_MISTAKES, "agent.yaml")
    found = [(problem.path, problem.line, problem.column, problem.found) for problem in caught.value.problems]
    assert found == [
        ("metadata.name", 4, 9, '"Coder"'),
        ("spec.runtime.version", 8, 14, "the number 3.10"),
        ("spec.enviroment", 9, 3, "the unknown key enviroment"),
        ("spec.resources.cpu_quota", 12, 16, "the integer 1000"),
        ("spec.volumes[0].mount_path", 15, 19, '"workspace"'),
    ]
    assert all(problem.wanted for problem in caught.value.problems)
    assert caught.value.code == "invalid_manifest"


def test_the_text_of_an_error_shows_the_line_and_a_caret_under_the_value() -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(FIVE_MISTAKES, "agent.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "agent.yaml: 5 problems"
    at = lines.index("   12 |     cpu_quota: 1000")
    assert lines[at + 1].index("^") == lines[at].index("1000")
    assert lines[at + 2].startswith("    hint: 1000 looks like millicores")


def test_the_json_of_an_error_has_every_problem() -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(FIVE_MISTAKES, "agent.yaml")
    document = json.loads(json.dumps(caught.value.as_json()))
    assert [problem["line"] for problem in document["problems"]] == [4, 8, 9, 12, 15]


@pytest.mark.parametrize(
    ("changes", "suggestion"),
    [
        ({"spec.resources.cpu_quotas": 1}, "did you mean cpu_quota?"),
        ({"spec.resources.cpu": 1000}, "did you mean spec.security.resources.cpu?"),
        ({"spec.volume": []}, "did you mean volumes?"),
        ({"spec.security.networks": {}}, "did you mean network?"),
        ({"spec.resources.cpu_quota": 1.0, "spec.security.network_polic": {}}, "did you mean network_policy?"),
        ({"spec.qqqqqq": 1}, "known here: "),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(changes: dict[str, Any], suggestion: str) -> None:
    assert suggestion in refusal(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec.resources.cpu_quota": 0.5, "spec.security.resources.cpu": 500},
        {"spec.resources.memory_bytes": 2**30, "spec.security.resources.memory": "1Gi"},
        {"spec.environment": {"A": "1", "B": "2"}, "spec.env": {"A": "1", "C": "3"}},
        {"spec.resources.timeout_secs": 60, "spec.execution.iteration_timeout": "1m"},
    ],
)
def test_the_same_thing_said_twice_alike_is_fine(changes: dict[str, Any]) -> None:
    load_manifest(manifest(changes), "agent.yaml")


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        (
            {"spec.resources.cpu_quota": 1.0, "spec.security.resources.cpu": 500},
            ("spec.resources.cpu_quota", "spec.security.resources.cpu"),
        ),
        ({"spec.environment": {"A": "1"}, "spec.env": {"A": "2"}}, ("spec.environment.A", "spec.env.A")),
        (
            {"spec.security.network_policy.allowlist": ["a.org"], "spec.security.network.allowlist": ["b.org"]},
            ("spec.security.network_policy.allowlist", "spec.security.network.allowlist"),
        ),
    ],
)
def test_the_same_thing_said_twice_differently_names_both_places(
    changes: dict[str, Any], both: tuple[str, str]
) -> None:
    text = refusal(changes)
    assert all(place in text for place in both)


IMAGE = "spec.runtime.image"
SECOND = {"name": "data", "mount_path": "/data"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec.runtime.language": "python"}, "either an image or a language"),
        ({"spec.runtime": {"language": "python"}}, "spec.runtime.version: found nothing"),
        ({"spec.runtime": {"version": "3.11"}}, "spec.runtime.language: found nothing"),
        ({"spec.runtime": {"model": "fast"}}, "an image, or language and version"),
        ({"spec.volumes": [VOLUME, {**SECOND, "name": "workspace"}]}, "another name than the volume in line"),
        ({"spec.volumes": [VOLUME, {**SECOND, "mount_path": "/workspace/"}]}, "another path than the volume in line"),
        (
            {"spec.volumes": [{**VOLUME, "access_mode": "read-only"}, {**SECOND, "mount_path": "/workspace/a/b"}]},
            "outside of /workspace, which is read-only",
        ),
        ({"spec.volumes": [{**VOLUME, "storage_class": "persistent", "ttl_hours": 1}]}, "no ttl_hours"),
        ({"spec.volumes": [{"mount_path": "/workspace"}]}, "spec.volumes[0].name: found nothing"),
        ({"spec.volumes": [{"name": "workspace"}]}, "spec.volumes[0].mount_path: found nothing"),
        ({"spec.volumes": [None]}, "spec.volumes[0]: found nothing, wanted an item"),
        ({"spec.volumes": VOLUME}, "wanted a list"),
        ({"spec.security.network": {"mode": "none", "allowlist": ["a.org"]}}, "no allowlist with mode none"),
        ({"spec.security.network": {"mode": "deny", "allowlist": ["a.org"]}}, "no allowlist with mode deny"),
        ({"spec.execution": {"mode": "one-shot", "max_iterations": 3}}, "1 with mode one-shot"),
        ({"spec.execution.max_iterations": 21}, "less than or equal to 20"),
        ({"spec.execution.iteration_timeout": "10m", "spec.security.resources.timeout": "5m"}, "at most 300 s"),
        ({"spec.execution.validation": [{"type": "regex"}]}, "spec.execution.validation[0].pattern: found nothing"),
        ({"spec.execution.validation": [{"min_score": 1}]}, "spec.execution.validation[0].type: found nothing"),
        ({"spec.execution.validation": [{"type": "exit_code", "pattern": "a"}]}, "found the key pattern"),
        ({"spec.execution.validation": [{"type": "exit_code", "min_score": 2}]}, "less than or equal to 1"),
        ({"spec.execution.validation": [{"type": "regex", "pattern": "("}]}, "missing )"),
        ({"spec.execution.validation": [{"type": "json_schema", "schema": {"type": 3}}]}, "is not valid"),
        ({"spec.execution.validation": [{"type": "script", "command": "a b"}]}, '["a", "b"]'),
        ({"spec.task.prompt_template": "{{nonsense}}"}, "there is no nonsense; there are: instruction"),
        ({"spec.env.AEGIS_AGENT_ID": "x"}, "the daemon sets the variables that begin with AEGIS_"),
        ({"kind": "AgentManifest"}, "wanted Agent"),
        ({"apiVersion": "v1"}, "100monkeys.ai/v1"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_reason(changes: dict[str, Any], said: str) -> None:
    assert said in refusal(changes)


def test_a_manifest_without_anything_names_everything_that_is_missing() -> None:
    assert problems("{}") == [
        ("apiVersion", 1),
        ("kind", 1),
        ("spec.runtime.image", 1),
        ("metadata.name", 1),
    ]


def test_a_value_that_cannot_be_read_is_not_called_missing_as_well() -> None:
    text = manifest({"spec.volumes": [{"name": "Bad Name", "mount_path": "relative"}], "metadata.name": "BAD"})
    assert [path for path, _ in problems(text)] == [
        "metadata.name",
        "spec.volumes[0].name",
        "spec.volumes[0].mount_path",
    ]


def test_a_key_with_nothing_after_it_is_as_if_it_were_not_there() -> None:
    text = manifest({"spec.volumes": None, "spec.task.instruction": None, "spec.security": None})
    assert load_manifest(text, "agent.yaml").manifest == load_manifest(manifest(), "agent.yaml").manifest


def test_an_existing_volume_is_persistent_without_saying_so() -> None:
    volume = {**VOLUME, "source": {"volume_id": "3f0b1c9e-8a54-4a8f-9a55-5a1f1f7f0001"}}
    loaded = load_manifest(manifest({"spec.volumes": [volume]}), "agent.yaml")
    assert loaded.manifest.volumes[0].storage_class == "persistent"


def test_a_tool_that_does_not_exist_is_noted_and_not_refused() -> None:
    loaded = load_manifest(manifest({"spec.tools": ["cmd.run", "fs.multi_edit"]}), "agent.yaml")
    assert [note.path for note in loaded.notes] == ["spec.tools[1]"]


def test_explain_says_for_every_value_which_line_or_default_it_came_from() -> None:
    text = manifest({"spec.resources.cpu_quota": 0.5, "spec.execution.validation.system.must_succeed": True})
    rows = {row.path: (row.value, row.where) for row in load_manifest(text, "agent.yaml").explanation}
    line = text.splitlines().index("    cpu_quota: 0.5") + 1
    assert rows["resources.cpu_quota"] == ("0.5", f"agent.yaml:{line} spec.resources.cpu_quota")
    assert rows["resources.pids_limit"] == ("512", "default")
    assert rows["runtime.image_pull_policy"] == ("-", "the node's runtime.image_pull_policy")
    assert rows["execution.validators[0].type"][1].startswith("derived from agent.yaml:")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_that_are_shipped_are_manifests_without_a_note(path: Path) -> None:
    assert load_manifest(path.read_text(encoding="utf-8"), path.name).notes == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_manifest_survives_being_stored_as_json(path: Path) -> None:
    loaded = load_manifest(path.read_text(encoding="utf-8"), path.name).manifest
    assert AgentManifest.model_validate_json(loaded.model_dump_json()) == loaded


KEYS = sorted({part for row in AGENT_TABLE.fields for part in row.pattern if part not in ("[]", "*")})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["1Gi", "5m", "/workspace", "a.org", "regex", "json", "exit_code", "semantic", "100monkeys.ai/v1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), inner, max_size=5),
    ),
    max_leaves=25,
)


@given(VALUES, st.sampled_from([row.path for row in AGENT_TABLE.fields]))
@example({"a": float("inf")}, "spec.resources.cpu_quota")
@example([[1]], "spec.tools[]")
def test_any_yaml_is_a_manifest_or_a_document_error(value: Any, path: str) -> None:
    concrete = path.replace("[]", "[0]").replace("*", "A")
    for document in (value, yaml.safe_load(manifest({concrete: value})) if _dumps(value) else value):
        try:
            load_manifest(yaml.safe_dump(document, allow_unicode=True), "agent.yaml")
        except ManifestError as error:
            assert error.problems


def _dumps(value: Any) -> bool:
    try:
        yaml.safe_load(yaml.safe_dump(value))
    except (yaml.YAMLError, ValueError):
        return False
    return True


@given(st.data())
def test_a_manifest_with_anything_cut_out_or_put_in_is_one_or_a_document_error(data: st.DataObject) -> None:
    text = EXAMPLES[0].read_text(encoding="utf-8")
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 40)))
    changed = text[:begin] + data.draw(st.text(max_size=10)) + text[end:]
    try:
        load_manifest(changed, "agent.yaml")
    except ManifestError as error:
        assert error.problems
