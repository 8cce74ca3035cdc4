"""What tools and files an agent may use."""

from __future__ import annotations

import pytest

from aegis.domain.globs import matches
from aegis.domain.policy import paths_below, tool_allowed


@pytest.mark.parametrize(
    ("patterns", "tool", "allowed"),
    [
        (("cmd.run", "fs.*"), "fs.read", True),
        (("cmd.run", "fs.*"), "cmd.run", True),
        (("fs.read",), "fs.write", False),
        (("fs.*",), "FS.read", False),
        ((), "fs.read", False),
        (("*",), "web.fetch", True),
    ],
)
def test_tools_are_allowed_by_pattern(patterns: tuple[str, ...], tool: str, allowed: bool) -> None:
    assert tool_allowed(patterns, tool) is allowed


@pytest.mark.parametrize(
    ("pattern", "below"),
    [
        ("/workspace/src/**", "src/**"),
        ("/workspace/**", "**"),
        ("/workspace", "**"),
        ("/workspace/", "**"),
        ("/workspace/a.txt", "a.txt"),
        ("/**", "**"),
        ("/**/secret", "**/secret"),
        ("/work*/x", "x"),
        ("**/*.py", "**/*.py"),
        ("/data/**", None),
        ("/workspaces/**", None),
        ("/", None),
    ],
)
def test_a_containers_path_pattern_becomes_the_volumes(pattern: str, below: str | None) -> None:
    assert paths_below([pattern], "/workspace") == (() if below is None else (below,))


def test_a_deeper_mount_takes_the_patterns_that_reach_it() -> None:
    assert paths_below(["/mnt/data/x", "/mnt", "/mnt/*/y"], "/mnt/data") == ("x", "y")


def test_no_list_allows_everything_and_an_empty_one_nothing() -> None:
    assert paths_below(None, "/workspace") is None
    assert paths_below([], "/workspace") == ()


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**/*.py", "a.py", True),
        ("**/*.py", "x/y/a.py", True),
        ("*.py", "x/a.py", False),
        ("src/**", "src", True),
        ("src/**", "src/a/b", True),
        ("src/**/test_?.py", "src/x/test_1.py", True),
        ("src/**/test_?.py", "src/test_12.py", False),
        ("**", "", True),
        ("a/b", "a", False),
        ("a", "a/b", False),
    ],
)
def test_globs_match_whole_paths(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


def test_a_glob_of_many_stars_ends() -> None:
    assert not matches("/".join(["**", "a"] * 200), "/".join(["a"] * 150 + ["b"]))
