"""Security contexts as manifests and the node's configuration write them, and what is a mistake in them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from aegis.config.load import read_config
from aegis.documents import DocumentError, load_manifest
from aegis.documents.problems import Problem
from aegis.domain.contexts import Capability, PathLists, RateLimit, SecurityContext
from tests.support.manifests import MINIMAL, put, text

CODER: dict[str, Any] = {
    "name": "coder",
    "capabilities": [
        {"tool_pattern": "fs.*", "filesystem": {"read": ["/workspace/**"], "write": ["/workspace/src/**"]}},
        {
            "tool_pattern": "cmd.run",
            "subcommand_allowlist": {"git": ["status", "diff"], "ls": ["*"], "pwd": []},
            "rate_limit": {"calls_per_minute": 10, "calls_per_execution": 100},
        },
        {"tool_pattern": "web.fetch", "domain_allowlist": ["*.example.org"]},
    ],
    "deny_list": ["fs.delete"],
}
MEANT = SecurityContext(
    name="coder",
    capabilities=(
        Capability(tool_pattern="fs.*", filesystem=PathLists(read=("/workspace/**",), write=("/workspace/src/**",))),
        Capability(
            tool_pattern="cmd.run",
            commands={"git": ("status", "diff"), "ls": ("*",), "pwd": ()},
            rate_limit=RateLimit(calls_per_minute=10, calls_per_execution=100),
        ),
        Capability(tool_pattern="web.fetch", domains=("*.example.org",)),
    ),
    deny=("fs.delete",),
)


def in_manifest(*contexts: Any, name: str = "coder") -> str:
    return text(put(put(MINIMAL, "spec.security_contexts", list(contexts)), "spec.security_context", name))


def in_config(*contexts: Any) -> str:
    return yaml.safe_dump({"security_contexts": list(contexts)}, sort_keys=False)


def problems(*contexts: Any) -> list[Problem]:
    """Of the manifest; the configuration has to find the same ones."""
    with pytest.raises(DocumentError) as caught:
        load_manifest(in_manifest(*contexts), "a.yaml")
    with pytest.raises(DocumentError) as of_config:
        read_config(in_config(*contexts), "c.yaml", {"HOME": "/h"}, base_directory="/")
    found = list(caught.value.problems)
    in_both = [
        [(each.path.removeprefix("spec."), each.found, re.sub(r"line \d+", "line", each.wanted)) for each in list_of]
        for list_of in (found, of_config.value.problems)
    ]
    assert in_both[0] == in_both[1]
    return found


def capability(**keys: Any) -> dict[str, Any]:
    return {"name": "coder", "capabilities": [{"tool_pattern": "fs.*", **keys}]}


def test_manifests_and_configuration_say_it_in_the_same_words() -> None:
    assert load_manifest(in_manifest(CODER), "a.yaml").manifest.security_contexts == (MEANT,)
    bare = read_config(in_config(CODER), "c.yaml", {"HOME": "/h"}, base_directory="/").config
    envelope = {"apiVersion": "100monkeys.ai/v1", "kind": "NodeConfig", "spec": {"security_contexts": [CODER]}}
    whole = read_config(yaml.safe_dump(envelope), "c.yaml", {"HOME": "/h"}, base_directory="/").config
    assert bare.security_contexts == whole.security_contexts == (MEANT,)


def test_explain_shows_every_list_and_where_it_was_said() -> None:
    rows = {row.path: row for row in load_manifest(in_manifest(CODER), "a.yaml").explanation}
    git = rows["security_contexts[0].capabilities[1].commands.git"]
    assert (git.value, git.where.split()[1]) == (
        "[status, diff]",
        "spec.security_contexts[0].capabilities[1].subcommand_allowlist.git",
    )
    assert rows["security_context"].value == "coder"
    loaded = read_config(in_config(CODER), "c.yaml", {"HOME": "/h"}, base_directory="/")
    shown = {row.path: row.value for row in loaded.explanation}
    assert shown["security_contexts[0].deny"] == "[fs.delete]"
    assert shown["security_contexts[0].capabilities[1].rate_limit.calls_per_minute"] == "10"
    assert shown["security_contexts[0].capabilities[0].domains"] == "-"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("domain_allowlist", None),
        ("path_allowlist", None),
        ("filesystem", None),
        ("filesystem", {}),
        ("filesystem", {"read": None}),
        ("subcommand_allowlist", None),
        ("subcommand_allowlist", {"git": None}),
        ("rate_limit", None),
        ("rate_limit", {"calls_per_minute": None}),
    ],
)
def test_a_restriction_with_nothing_after_it_is_a_mistake_and_not_the_absence_of_one(key: str, value: Any) -> None:
    [problem] = problems({"name": "coder", "capabilities": [{"tool_pattern": "*", key: value}]})
    assert (problem.found, problem.line > 0) == ("nothing", True)
    assert problem.wanted.endswith("or the key left out")


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"tool_pattern": "cmd.run", "filesystem": {"read": ["/w"]}}, "no path list: no tool that cmd.run means"),
        ({"tool_pattern": "web.*", "path_allowlist": ["/w"]}, "no path list: no tool that web.* means"),
        ({"domain_allowlist": ["a.org"]}, "no domain list: no call of fs.* names a URL"),
        ({"tool_pattern": "cmd.run", "domain_allowlist": []}, "no domain list: no call of cmd.run names a URL"),
        ({"subcommand_allowlist": {"ls": ["*"]}}, "no commands: fs.* does not mean cmd.run"),
        ({"subcommand_allowlist": {}}, "no commands: fs.* does not mean cmd.run"),
        ({"path_allowlist": ["/w"], "filesystem": {"read": ["/w"]}}, "either path_allowlist or filesystem.read"),
        ({"path_allowlist": ["w"]}, "an absolute path or pattern"),
        ({"tool_pattern": "fs read"}, "a tool or a pattern of tools"),
        ({"rate_limit": {"calls_per_minute": 0}}, "greater than or equal to 1"),
        ({"rate_limit": {"calls_per_minute": 10_001}}, "less than or equal to 10000"),
        ({"tool_patern": "fs.*"}, "tool_pattern"),
    ],
)
def test_a_list_that_could_hold_for_nothing_is_reported_where_it_is(keys: dict[str, Any], wanted: str) -> None:
    found = problems(capability(**keys))
    assert [wanted in problem.wanted and problem.line > 0 for problem in found].count(True) == 1, found


@pytest.mark.parametrize(
    ("commands", "wanted"),
    [
        ({"env": ["git"]}, '["*"]: env runs other programs'),
        ({"/usr/bin/sudo": ["ls"]}, '["*"]: sudo runs other programs'),
        ({"sh": ["-c"]}, "the names of scripts, without options"),
        ({"/bin/bash": ["build.sh", "-ec"]}, "the names of scripts, without options"),
        ({"git status": ["*"]}, "a program as it is called"),
        ({"./build.sh": ["*"]}, "a program as it is called"),
        ({"git": [""]}, "an argument"),
        ({"git": "status"}, "a list of an argument"),
    ],
)
def test_commands_that_would_not_restrict_what_they_seem_to_are_refused(commands: Any, wanted: str) -> None:
    [problem] = problems(capability(tool_pattern="cmd.run", subcommand_allowlist=commands))
    assert problem.wanted.startswith(wanted)


def test_a_shell_that_may_run_anything_is_taken_and_noted() -> None:
    commands = {"sh": ["*"], "bash": ["build.sh"], "env": []}
    loaded = load_manifest(in_manifest(capability(tool_pattern="cmd.run", subcommand_allowlist=commands)), "a.yaml")
    [note] = loaded.notes
    assert note.path.endswith(".subcommand_allowlist.sh")
    assert "restricts nothing" in note.text


def test_two_contexts_of_one_name_are_a_mistake_and_one_that_nobody_names_is_noted() -> None:
    [problem] = problems(CODER, CODER)
    assert "another name than the context in line" in problem.wanted
    [note] = load_manifest(in_manifest(CODER, name="default"), "a.yaml").notes
    assert "spec.security_context: coder would" in note.text
