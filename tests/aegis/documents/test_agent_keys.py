"""Every key of both dialects, once: what it is written as and what it comes to in the model."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aegis.documents import ManifestError, load_manifest
from aegis.documents.agent_table import AGENT_TABLE
from aegis.domain.manifest import AgentManifest
from tests.support.manifests import VOLUME, manifest

VOLUME_ID = "3f0b1c9e-8a54-4a8f-9a55-5a1f1f7f0001"
VALIDATION = "spec.execution.validation"
FIRST = "execution.validators.0"
CONTEXT, ITS_CONTEXT = "spec.security_contexts[0]", "security_contexts.0"
CAPABILITY, ITS_CAPABILITY = f"{CONTEXT}.capabilities[0]", f"{ITS_CONTEXT}.capabilities.0"
NAMED = {f"{CONTEXT}.name": "coder"}
FILES, WEB, COMMANDS = ({**NAMED, f"{CAPABILITY}.tool_pattern": each} for each in ("fs.*", "web.*", "cmd.run"))
SCHEMA = {"type": "object", "required": ["a"]}

SEMANTIC = {f"{VALIDATION}[0].type": "semantic"}
JUDGED: list[tuple[str, Any, str, Any]] = [
    ("model", "smart", "judge.model_alias", "smart"),
    ("judge_agent", "reviewer", "judge.agent", "reviewer"),
    ("criteria", "Is {{output}} kind?", "criteria", "Is {{output}} kind?"),
    ("targets", ["/workspace/a", "/workspace/b"], "targets", ("/workspace/a", "/workspace/b")),
    ("target", "/workspace/a", "targets", ("/workspace/a",)),
    ("target", "stdout", "targets", ()),
    ("min_score", 0.9, "min_score", 0.9),
    ("min_confidence", 0.5, "min_confidence", 0.5),
    ("timeout_seconds", 5, "timeout_seconds", 5.0),
    ("fallback_on_unavailable", True, "fallback_on_unavailable", True),
]
PANEL_OF_ONE = {"type": "multi_judge", "judges": ["reviewer"]}
PANEL = {f"{VALIDATION}[0]": PANEL_OF_ONE}
PANELED: list[tuple[str, Any, str, Any]] = [
    ("judges[0]", "reviewer", "judges.0.agent", "reviewer"),
    ("judges[0]", {"agent": "reviewer"}, "judges.0.agent", "reviewer"),
    ("judges[0]", {"model": "smart"}, "judges.0.model_alias", "smart"),
    ("judges[0]", {"name": "strict"}, "judges.0.name", "strict"),
    ("judges[0]", {"model": "smart", "weight": 2}, "judges.0.weight", 2.0),
    ("judges[0]", {"criteria": "Is it fast?"}, "judges.0.criteria", "Is it fast?"),
    ("consensus", "majority", "consensus", "majority"),
    ("min_judges_required", 1, "min_judges_required", 1),
]

# What a key means: (key, written, where in the model, value there[, what else has to be in the manifest]).
MEANINGS: list[tuple[Any, ...]] = [
    ("metadata.name", "coder", "name", "coder"),
    ("metadata.version", "2.1.0", "version", "2.1.0"),
    ("metadata.description", "writes", "description", "writes"),
    ("metadata.labels.role", "worker", "labels", {"role": "worker"}),
    ("metadata.annotations.docs", "x", "annotations", {"docs": "x"}),
    ("spec.runtime.image", "alpine:3", "runtime.image", "alpine:3"),
    ("spec.runtime.language", "python", "runtime.language", "python", {"spec.runtime": {"version": "3.11"}}),
    ("spec.runtime.version", "3.11", "runtime.version", "3.11", {"spec.runtime": {"language": "python"}}),
    ("spec.runtime.image_pull_policy", "Never", "runtime.image_pull_policy", "Never"),
    ("spec.runtime.model", "smart", "runtime.model_alias", "smart"),
    ("spec.task.instruction", "do it", "instruction", "do it"),
    ("spec.task.prompt_template", "{{input}}", "prompt_template", "{{input}}"),
    ("spec.environment.LEVEL", "1", "environment", {"LEVEL": "1"}),
    ("spec.env.LEVEL", "1", "environment", {"LEVEL": "1"}),
    ("spec.resources.cpu_quota", 1.5, "resources.cpu_quota", 1.5),
    ("spec.security.resources.cpu", 1500, "resources.cpu_quota", 1.5),
    ("spec.resources.memory_bytes", 1073741824, "resources.memory_bytes", 2**30),
    ("spec.security.resources.memory", "1Gi", "resources.memory_bytes", 2**30),
    ("spec.resources.pids_limit", 64, "resources.pids_limit", 64),
    ("spec.resources.timeout_secs", 60, "resources.timeout_seconds", 60.0),
    ("spec.execution.iteration_timeout", "1m", "resources.timeout_seconds", 60.0),
    ("spec.security.resources.timeout", "1h", "resources.execution_timeout_seconds", 3600.0),
    ("spec.security.resources.disk", "1Gi", "volumes.0.size_limit_bytes", 2**30, {"spec.volumes": [VOLUME]}),
    ("spec.security.network_policy.mode", "none", "security.network.mode", "none"),
    ("spec.security.network_policy.allowlist", ["a.org"], "security.network.allowlist", ("a.org",)),
    ("spec.security.network_policy.denylist", ["a.org"], "security.network.denylist", ("a.org",)),
    ("spec.security.network.mode", "deny", "security.network.mode", "deny"),
    ("spec.security.network.allowlist", ["*.a.org"], "security.network.allowlist", ("*.a.org",)),
    ("spec.security.network.denylist", ["10.0.0.0/8"], "security.network.denylist", ("10.0.0.0/8",)),
    ("spec.security.filesystem.read", ["/workspace"], "security.filesystem.read", ("/workspace",)),
    ("spec.security.filesystem.write", ["/w/**"], "security.filesystem.write", ("/w/**",)),
    ("spec.security.filesystem.read_only", True, "volumes.0.access_mode", "read-only", {"spec.volumes": [VOLUME]}),
    ("spec.security.smcp", True, "security.smcp", True),
    ("spec.security.container_uid", 1234, "security.container_uid", 1234),
    ("spec.security.container_gid", 1234, "security.container_gid", 1234),
    ("spec.volumes[0].name", "data", "volumes.0.name", "data"),
    ("spec.volumes[0].mount_path", "/data", "volumes.0.mount_path", "/data"),
    ("spec.volumes[0]", {"name": "data", "mount_point": "/data"}, "volumes.0.mount_path", "/data"),
    ("spec.volumes[0].storage_class", "persistent", "volumes.0.storage_class", "persistent"),
    ("spec.volumes[0].access_mode", "read-only", "volumes.0.access_mode", "read-only"),
    ("spec.volumes[0].ttl_hours", 2, "volumes.0.ttl_hours", 2.0),
    ("spec.volumes[0].size_limit", "500Mi", "volumes.0.size_limit_bytes", 500 * 2**20),
    ("spec.volumes[0].size_limit_mb", 500, "volumes.0.size_limit_bytes", 500 * 2**20),
    ("spec.volumes[0].source.volume_id", VOLUME_ID, "volumes.0.source_volume_id", VOLUME_ID),
    ("spec.volumes[0].mount_profile", "compat", "volumes.0.mount_profile", "compat"),
    ("spec.volumes[0].identity", "mapped", "volumes.0.identity", "mapped"),
    ("spec.execution.mode", "one-shot", "execution.mode", "one-shot"),
    ("spec.execution.max_iterations", 20, "execution.max_iterations", 20),
    ("spec.execution.llm_timeout_seconds", 120, "execution.llm_timeout_seconds", 120.0),
    (f"{VALIDATION}[0].type", "exit_code", f"{FIRST}.type", "exit_code"),
    (f"{VALIDATION}[0].min_score", 0.5, f"{FIRST}.min_score", 0.5, {f"{VALIDATION}[0].type": "exit_code"}),
    (f"{VALIDATION}[0].expected", 3, f"{FIRST}.expected", 3, {f"{VALIDATION}[0].type": "exit_code"}),
    (f"{VALIDATION}[0].schema", SCHEMA, f"{FIRST}.json_schema", SCHEMA, {f"{VALIDATION}[0].type": "json_schema"}),
    (f"{VALIDATION}[0].pattern", "a+", f"{FIRST}.pattern", "a+", {f"{VALIDATION}[0].type": "regex"}),
    (
        f"{VALIDATION}[0].must_match",
        False,
        f"{FIRST}.must_match",
        False,
        {f"{VALIDATION}[0]": {"type": "regex", "pattern": "a"}},
    ),
    (
        f"{VALIDATION}[0].target",
        "/workspace/a",
        f"{FIRST}.target",
        "/workspace/a",
        {f"{VALIDATION}[0]": {"type": "regex", "pattern": "a"}},
    ),
    (f"{VALIDATION}[0].command", ["a", "b"], f"{FIRST}.command", ("a", "b"), {f"{VALIDATION}[0].type": "script"}),
    (
        f"{VALIDATION}[0].timeout_seconds",
        5,
        f"{FIRST}.timeout_seconds",
        5.0,
        {f"{VALIDATION}[0]": {"type": "script", "command": "a"}},
    ),
    *((f"{VALIDATION}[0].{key}", value, f"{FIRST}.{target}", there, SEMANTIC) for key, value, target, there in JUDGED),
    *((f"{VALIDATION}[0].{key}", value, f"{FIRST}.{target}", there, PANEL) for key, value, target, there in PANELED),
    (f"{VALIDATION}[0].n", 1, f"{FIRST}.n", 1, {f"{VALIDATION}[0]": {**PANEL_OF_ONE, "consensus": "best_of_n"}}),
    (f"{VALIDATION}.semantic.model", "smart", f"{FIRST}.judge.model_alias", "smart"),
    (f"{VALIDATION}.semantic.prompt", "{{output}}?", f"{FIRST}.criteria", "{{output}}?"),
    (f"{VALIDATION}.semantic.threshold", 0.9, f"{FIRST}.min_score", 0.9),
    (f"{VALIDATION}.semantic.timeout_seconds", 5, f"{FIRST}.timeout_seconds", 5.0),
    (f"{VALIDATION}.semantic.fallback_on_unavailable", True, f"{FIRST}.fallback_on_unavailable", True),
    (f"{VALIDATION}.system.must_succeed", True, f"{FIRST}.type", "exit_code"),
    (f"{VALIDATION}.system.timeout_seconds", 60, "resources.timeout_seconds", 60.0),
    (f"{VALIDATION}.output.format", "json", f"{FIRST}.json_schema", {}),
    (f"{VALIDATION}.output.schema", SCHEMA, f"{FIRST}.json_schema", SCHEMA),
    (f"{VALIDATION}.output.regex", "a+", f"{FIRST}.pattern", "a+"),
    (f"{VALIDATION}.script.path", "/workspace/a", f"{FIRST}.command", ("/workspace/a",)),
    (
        f"{VALIDATION}.script.timeout_seconds",
        5,
        f"{FIRST}.timeout_seconds",
        5.0,
        {f"{VALIDATION}.script.path": "/workspace/a"},
    ),
    ("spec.tools[0]", "fs.read", "tools", ("fs.read",)),
    ("spec.tools[0].name", "cmd.run", "tools", ("cmd.run",)),
    ("spec.tools[0]", "mcp:gmail", "tools", ("gmail.*",), {}),
    ("spec.tools[0].server", "mcp:filesystem", "tools", ("fs.*",), {"spec.tools[0].name": "files"}),
    ("spec.tools[0].executor", "builtin:cmd", "tools", ("cmd.run",), {"spec.tools[0].name": "commands"}),
    ("spec.security_context", "coder", "security_context", "coder"),
    (f"{CONTEXT}.name", "coder", f"{ITS_CONTEXT}.name", "coder"),
    (f"{CONTEXT}.description", "x", f"{ITS_CONTEXT}.description", "x", NAMED),
    (f"{CONTEXT}.deny_list", ["fs.delete"], f"{ITS_CONTEXT}.deny", ("fs.delete",), NAMED),
    (f"{CAPABILITY}.tool_pattern", "fs.*", f"{ITS_CAPABILITY}.tool_pattern", "fs.*", NAMED),
    (f"{CAPABILITY}.filesystem.read", ["/w"], f"{ITS_CAPABILITY}.filesystem.read", ("/w",), FILES),
    (f"{CAPABILITY}.filesystem.write", [], f"{ITS_CAPABILITY}.filesystem.write", (), FILES),
    (f"{CAPABILITY}.path_allowlist", ["/w"], f"{ITS_CAPABILITY}.filesystem.read", ("/w",), FILES),
    (f"{CAPABILITY}.path_allowlist", ["/w"], f"{ITS_CAPABILITY}.filesystem.write", ("/w",), FILES),
    (f"{CAPABILITY}.domain_allowlist", ["a.org"], f"{ITS_CAPABILITY}.domains", ("a.org",), WEB),
    (f"{CAPABILITY}.subcommand_allowlist.git", ["diff"], f"{ITS_CAPABILITY}.commands", {"git": ("diff",)}, COMMANDS),
    (f"{CAPABILITY}.subcommand_allowlist", {}, f"{ITS_CAPABILITY}.commands", {}, COMMANDS),
    (f"{CAPABILITY}.rate_limit.calls_per_minute", 3, f"{ITS_CAPABILITY}.rate_limit.calls_per_minute", 3, FILES),
    (f"{CAPABILITY}.rate_limit.calls_per_execution", 9, f"{ITS_CAPABILITY}.rate_limit.calls_per_execution", 9, FILES),
]

# Accepted, and nothing of the model changes.
NOTHING: list[tuple[str, Any]] = [
    ("apiVersion", "100monkeys.ai/v1"),
    ("kind", "Agent"),
    ("spec.runtime.isolation", "inherit"),
    ("spec.volumes[0].type", "seaweedfs"),
    ("spec.execution.memory", False),
    ("spec.execution.tool_validation", []),
    ("spec.context", []),
    (f"{VALIDATION}.system.allow_stderr", False),
    (f"{VALIDATION}.script.description", "checks"),
    (f"{VALIDATION}.semantic.enabled", False),
    ("spec.schedule.type", "manual"),
    ("spec.schedule.enabled", False),
    ("spec.schedule", {"type": "cron", "cron": "0 * * * *", "timezone": "UTC", "enabled": False}),
    ("spec.schedule", {"type": "interval", "interval": "1h", "enabled": False}),
]

# Understood, and refused as not available.
LATER: list[tuple[str, Any]] = [
    ("spec.runtime.isolation", "firecracker"),
    ("spec.runtime.temperature", 0.2),
    ("spec.task.agentskills", ["a:b"]),
    ("spec.task.input_data", {"a": 1}),
    ("spec.volumes[0].type", "opendal"),
    ("spec.volumes[0].provider", "s3"),
    ("spec.volumes[0].config", {"bucket": "b"}),
    ("spec.execution.memory", True),
    ("spec.execution.delivery", {"destinations": [1]}),
    ("spec.execution.tool_validation", [{"type": "semantic"}]),
    (f"{VALIDATION}.output.format", "pdf"),
    (f"{VALIDATION}[0]", {"type": "regex", "pattern": "a", "target": "stderr"}),
    ("spec.tools[0]", {"name": "f", "server": "mcp:filesystem", "config": {"allowed_paths": ["/workspace"]}}),
    *((f"spec.{key}", {"a": 1}) for key in ("context", "delivery", "advanced", "input_schema", "output_handler")),
    ("spec.schedule.type", "cron"),
]


def base_for(path: str, extra: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if path.startswith("spec.volumes"):
        changes["spec.volumes"] = [VOLUME]
    for key, value in extra.items():
        if key == "spec.runtime":
            changes[key] = value
        else:
            changes[key] = value
    return changes


def at(model: AgentManifest, path: str) -> Any:
    value: Any = model
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


@pytest.mark.parametrize(("path", "written", "target", "value", "extra"), [(*row, {})[:5] for row in MEANINGS])
def test_a_key_means_what_the_table_says(
    path: str, written: Any, target: str, value: Any, extra: dict[str, Any]
) -> None:
    text = manifest({**base_for(path, extra), path: written})
    assert at(load_manifest(text, "a.yaml").manifest, target) == value


@pytest.mark.parametrize(("path", "written"), NOTHING)
def test_a_key_that_asks_for_nothing_changes_nothing(path: str, written: Any) -> None:
    with_it = load_manifest(manifest({**base_for(path, {}), path: written}), "a.yaml").manifest
    without = load_manifest(manifest(base_for(path, {})), "a.yaml").manifest
    assert with_it == without


@pytest.mark.parametrize(("path", "written"), LATER)
def test_what_this_version_does_not_have_is_refused_as_that(path: str, written: Any) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(manifest({**base_for(path, {}), path: written}), "a.yaml")
    assert any("not available in this version" in problem.hint for problem in caught.value.problems)


def test_no_key_of_the_table_is_without_a_test() -> None:
    def leaves(path: str, value: Any) -> list[str]:
        if isinstance(value, dict) and value and path not in known:
            return [leaf for key, item in value.items() for leaf in leaves(f"{path}.{key}", item)]
        return [path]

    known = {row.path for row in AGENT_TABLE.fields}
    tested: set[str] = set()
    for path, written in [row[:2] for row in MEANINGS] + NOTHING + LATER:
        pattern = re.sub(r"\[\d+\]", "[]", path)
        tested |= set(leaves(pattern, written)) | {pattern}
        tested |= {f"{pattern}.{key}" for key in written} if isinstance(written, dict) else set()
    star = {re.sub(r"\.[^.]+$", ".*", path) for path in tested}
    assert known - tested - star == set()
