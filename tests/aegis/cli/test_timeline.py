"""The timeline and the changed files, from events as the daemon stores them, and from anything that looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.cli.changes import changes
from aegis.cli.timeline import Entry, Timeline, Totals
from tests.aegis.cli.conftest import Run
from tests.support.small_world import World

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
TEXTS = ["name", "path", "to_path", "command", "error", "reason", "dispatch_id", "host", "content", "judge", "result"]
ROOMS = ["model", "tool", "dispatch", "file", "network", "judge", "validator", "iteration", "container", "image", "new"]
ENDS = ["called", "completed", "denied", "sent", "started", "failed", "write", "rename", "remove", "create", "answered"]


def events(*rows: tuple[float, str, int | None, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"sequence": n, "at": f"2026-01-01T00:00:{at:09.6f}+00:00", "kind": kind, "iteration": number, "data": data}
        for n, (at, kind, number, data) in enumerate(rows, 1)
    ]


def read(found: list[dict[str, Any]]) -> tuple[list[Entry], dict[int, Totals]]:
    line = Timeline()
    for event in found:
        line.take(event)
    return line.entries, line.totals


WRITE = {"path": "/workspace/a", "bytes": 10, "operations": 2}
RUN = {"name": "cmd.run", "arguments": {"command": "make", "args": ["-j"]}}
ONE_ITERATION = events(
    (0, "execution.created", None, {"agent": "coder"}),
    (1, "iteration.started", 1, {"number": 1}),
    (2, "container.created", 1, {"name": "aegis-agent-1"}),
    (
        3,
        "model.called",
        1,
        {"seconds": 0.5, "input_tokens": 7, "output_tokens": 3, "content": "I", "tool_calls": ["x"]},
    ),
    (4, "tool.called", 1, {"name": "fs.write", "arguments": {"path": "/workspace/a", "content": "long"}}),
    (4.5, "tool.completed", 1, {"name": "fs.write", "result": "written"}),
    (5, "tool.called", 1, RUN),
    (5.1, "dispatch.sent", 1, {"dispatch_id": "d1", "command": "make", "args": ["-j"], "cwd": "/workspace"}),
    (6, "file.write", None, WRITE),
    (6, "file.read", None, {"path": "/workspace/a", "bytes": 4, "operations": 1}),
    (7, "dispatch.completed", 1, {"dispatch_id": "d1", "exit_code": 2, "duration_ms": 1900, "stderr": "no rule"}),
    (8, "tool.called", 1, {"name": "web.fetch", "arguments": {"url": "http://a.org/"}}),
    (8, "tool.denied", 1, {"name": "web.fetch", "reason": "not allowed here"}),
    (8, "model.fallback", 1, {"alias": "smart", "fallback": "fast", "error": "busy"}),
    (9, "network.denied", 1, {"host": "b.org", "port": 443, "reason": "not in the allowlist", "connections": 3}),
    (9, "network.allowed", 1, {"host": "a.org", "port": 80, "connections": 1, "bytes_received": 7}),
    (10, "container.removed", 1, {"name": "aegis-agent-1"}),
    (11, "judge.answered", 1, {"judge": "ada", "score": 0.5, "confidence": 1, "reasoning": "so", "input_tokens": 1}),
    (12, "validator.judged", 1, {"validator": "semantic[0]", "score": 0.5, "passed": False, "reason": "so\nmore"}),
    (13, "iteration.refining", 1, {"number": 1, "score": 0.5}),
)


def test_what_belongs_together_is_one_entry_with_its_duration_and_its_end() -> None:
    entries, _ = read(ONE_ITERATION)
    shown = [(each.seconds, each.what, each.text, each.duration_seconds, each.ok) for each in entries]
    assert shown == [
        (0.0, "execution", "created", None, True),
        (1.0, "iteration", "1 started", None, True),
        (2.0, "container", "aegis-agent-1", 8.0, True),
        (3.0, "model", "I -> x", 0.5, True),
        (4.0, "tool", "fs.write /workspace/a", 0.5, True),
        (5.0, "tool", "cmd.run make -j", 0.1, True),
        (5.1, "command", "make -j", 1.9, False),
        (6.0, "file", "write /workspace/a (10 bytes in 2)", None, True),
        (6.0, "file", "read /workspace/a (4 bytes in 1)", None, True),
        (8.0, "tool", "web.fetch http://a.org/: denied: not allowed here", 0.0, False),
        (8.0, "model", "fallback -> fast: busy", None, False),
        (9.0, "network", "denied b.org:443 not in the allowlist (3 connections)", None, False),
        (9.0, "network", "allowed a.org:80 (1 connections)", None, True),
        (11.0, "judge", "ada: score 0.5, confidence 1: so", None, True),
        (12.0, "validator", "semantic[0] did not pass, score 0.5: so", None, False),
        (13.0, "iteration", "1 refining, score 0.5", None, False),
    ]


def test_a_restart_of_the_daemon_is_an_entry_and_no_state_of_the_iteration() -> None:
    entries, totals = read(
        events(
            (0, "iteration.started", 1, {"number": 1}),
            (1, "execution.resumed", None, {"iteration": 1}),
            (1, "iteration.resumed", 1, {"number": 1, "container": "left"}),
            (2, "iteration.succeeded", 1, {"number": 1}),
            (3, "execution.ending", None, {"event": "cancel", "code": None}),
        )
    )
    assert [(each.what, each.text, each.ok) for each in entries] == [
        ("iteration", "1 started", True),
        ("execution", "resumed", True),
        ("iteration", "1 resumed after a restart of the daemon: its container is waited for", True),
        ("iteration", "1 succeeded", True),
    ]
    assert totals[1].state == "success"


def test_what_the_container_called_by_itself_is_not_taken_for_the_models() -> None:
    entries, _ = read(
        events(
            (1, "tool.called", 1, RUN),
            (2, "tool.called", 1, {"name": "fs.list", "arguments": {"path": "/w"}, "caller": "agent"}),
            (3, "dispatch.sent", 1, {"dispatch_id": "d1", "command": "make"}),
            (4, "tool.completed", 1, {"name": "fs.list", "result": "error: no", "caller": "agent"}),
        )
    )
    assert [(each.text, each.duration_seconds, each.ok) for each in entries] == [
        ("cmd.run make -j", 2.0, True),
        ("fs.list /w (by the agent itself)", 2.0, False),
        ("make", None, True),
    ]


def test_an_iteration_is_summed_up() -> None:
    _, totals = read(ONE_ITERATION)
    assert totals[1] == Totals(
        number=1,
        state="refining",
        model_turns=1,
        input_tokens=8,
        output_tokens=3,
        tool_calls=3,
        denied=1,
        commands=1,
        commands_failed=1,
        bytes_read=4,
        bytes_written=10,
        files_changed=1,
        network_denied=3,
        network_allowed=1,
        network_bytes=7,
        judges=1,
    )


@given(
    st.lists(
        st.tuples(
            st.floats(0, 59),
            st.builds("{}.{}".format, st.sampled_from(ROOMS), st.sampled_from(ENDS)),
            st.none() | st.integers(1, 3),
            st.dictionaries(st.sampled_from(TEXTS), JSON, max_size=4),
        ),
        max_size=12,
    )
)
def test_whatever_a_daemon_of_another_version_says_is_a_timeline(rows: list[Any]) -> None:
    entries, _ = read(events(*rows))
    assert len(entries) <= len(rows)
    json.dumps(Timeline().as_json())
    changes(events(*rows))


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([("create", "a"), ("write", "a")], ["A a"]),
        ([("write", "a")], ["M a"]),
        ([("create", "a"), ("remove", "a")], []),
        ([("remove", "a")], ["D a"]),
        ([("remove", "a"), ("create", "a")], ["M a"]),
        ([("create", "t"), ("write", "t"), ("rename", "t", "a")], ["A a"]),
        ([("write", "a"), ("create", "t"), ("rename", "t", "a")], ["M a"]),
        ([("rename", "a", "b")], ["R a -> b"]),
        ([("mkdir", "d"), ("create", "d/x"), ("rmdir", "d")], ["A d/x"]),
        ([("link", "a", "b")], ["A b"]),
        ([("read", "a"), ("denied", "b"), ("failed", "c")], []),
        # a span is told when it ends, under the name the file had when it began
        ([("create", ".a"), ("rename", ".a", "a"), ("write", ".a")], ["A a"]),
        ([("create", ".a"), ("rename", ".a", "a"), ("create", ".a"), ("write", ".a")], ["A .a", "A a"]),
        ([("create", "a"), ("remove", "a"), ("write", "a")], []),
        ([("remove", "a"), ("write", "a")], ["D a"]),
        ([("rename", "a", "b"), ("write", "a"), ("rename", "b", "c")], ["R a -> c"]),
        ([("rename", "a", "b"), ("remove", "b")], ["D a"]),
        ([("rename", "a", "b"), ("rename", "b", "a"), ("write", "a")], ["M a"]),
        ([("rename", "a", "b"), ("rename", "b", "a")], []),
    ],
)
def test_what_became_of_the_files_is_said_as_version_control_says_it(steps: list[Any], found: list[str]) -> None:
    rows = [(0, f"file.{kind}", None, dict(zip(("path", "to_path"), paths, strict=False))) for kind, *paths in steps]
    shown = [
        f"{each.status} {f'{each.from_path} -> ' if each.from_path else ''}{each.path}"
        for each in changes(events(*rows))
    ]
    assert shown == found


def test_only_what_one_iteration_did_when_asked_for_it() -> None:
    rows = events(
        (0, "iteration.started", 1, {}),
        (1, "file.create", None, {"path": "a"}),
        (2, "iteration.started", 2, {}),
        (3, "file.create", None, {"path": "b"}),
    )
    assert [(each.path, each.iteration) for each in changes(rows)] == [("a", 1), ("b", 2)]
    assert [each.path for each in changes(rows, 2)] == ["b"]


async def test_the_commands_print_it_for_people_and_for_programs(run: Run, world: World) -> None:
    world.supervisor.finish_at_once = True
    execution = await world.running_execution()
    await world.supervisor.say(execution.id, "file.create", path="/workspace/a")
    ended = await run("task", "timeline", execution.id[:8])
    assert ended.code == 0, ended.err
    assert "1 refining" in ended.out and "iteration 2 (success): 0 model turns" in ended.out
    ended = await run("task", "timeline", execution.id, "--iteration", "2", "--no-files", "-o", "json")
    assert {entry["iteration"] for entry in json.loads(ended.out)["entries"]} == {2}
    ended = await run("task", "diff", execution.id, "-o", "json")
    assert ended.code == 0, ended.err
    assert (await run("task", "timeline", "ffffffff")).code == 3
