"""Events as lines: whatever a daemon sends is shown, and nothing of it commands a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.cli.events import KINDS, OUTPUT_LINES_MAX, describe
from aegis.cli.output import bar
from aegis.cli.running import Running

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    "name",
    "arguments",
    "stdout",
    "stderr",
    "exit_code",
    "error",
    "reason",
    "image",
    "bytes_done",
    "bytes_total",
    "passed",
    "content",
    "host",
    "bytes_sent",
    "bytes_received",
    "other",
]


def lines(kind: str, iteration: int | None = 1, **data: Any) -> list[str]:
    return [text for text, _ in describe({"kind": kind, "iteration": iteration, "data": data})]


@given(st.sampled_from([*KINDS, "brand.new"]), st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_data_of_any_kind_is_shown_without_control_characters(kind: str, data: dict[str, Any]) -> None:
    shown = "".join(text for text, _ in describe({"kind": kind, "iteration": None, "data": data}))
    assert all(character.isprintable() or character in "\n\t" or ord(character) >= 0xA0 for character in shown)


def test_an_event_of_a_newer_daemon_is_shown_as_it_is() -> None:
    assert lines("egress.denied", host="example.org", port=443) == ["  egress.denied host=example.org port=443"]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"container": "left", "answers": 1}, "its container is waited for"),
        ({"container": "ended", "answers": 2}, "its answer is judged"),
        ({"container": "none", "reason": "its container was not started"}, "begun anew, its container was not started"),
    ],
)
def test_how_an_iteration_goes_on_after_a_restart_is_said(data: dict[str, Any], shown: str) -> None:
    assert lines("iteration.resumed", **data) == [f"iteration 1 goes on after a restart of the daemon: {shown}"]


def test_a_network_decision_is_shown_when_it_is_made_and_the_bytes_when_they_are_told() -> None:
    where = {"host": "api.test", "port": 443, "reason": "not on the list"}
    assert lines("network.allowed", **where, connections=1) == ["  network api.test:443"]
    told = lines("network.allowed", **where, connections=3, bytes_sent=10, bytes_received=2048)
    assert told == ["  network api.test:443: 10 B sent, 2.0 KiB received"]
    assert lines("network.denied", **where) == ["  network refused: api.test:443: not on the list"]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"command": "python3", "args": ["main.py", "-v"]}, "  $ python3 main.py -v"),
        ({"command": "sh", "args": ["-c", "a\nb"]}, "  $ sh -c a\\nb"),
    ],
)
def test_a_command_is_shown_as_it_was_run(arguments: dict[str, Any], shown: str) -> None:
    assert lines("tool.called", name="cmd.run", arguments=arguments) == [shown]


def test_long_output_shows_its_end_and_says_what_is_left_out() -> None:
    text = "".join(f"{number}\n" for number in range(100))
    shown = lines("dispatch.completed", stdout=text, exit_code=2)
    assert shown[0] == f"    ({100 - OUTPUT_LINES_MAX} lines left out)"
    assert shown[-2:] == ["    99", "    exit code 2"]


def test_a_verdict_says_what_was_not_met() -> None:
    assert lines("validator.judged", validator="script[0]", passed=False, reason="wanted 42") == [
        "  validator script[0]: not passed: wanted 42"
    ]


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [(0, 100, "[----]   0%"), (50, 100, "[##--]  50%"), (7, None, ""), (9, 3, "[####] 100%")],
)
def test_a_bar_is_as_full_as_what_is_done(done: int, total: int | None, shown: str) -> None:
    assert bar(done, total, width=4) == shown


def test_a_failure_of_the_model_says_whether_it_is_tried_again() -> None:
    assert lines("model.failed", error="HTTP 429", retry_in_seconds=1.5) == [
        "  the model failed: HTTP 429; trying again in 1.5 s"
    ]
    assert lines("model.failed", error="too long") == ["  the model failed: too long"]
    assert lines("model.fallback", alias="default", fallback="small", error="HTTP 503") == [
        "  model default is given up, small answers: HTTP 503"
    ]


def show(running: Running, kind: str, **data: Any) -> list[str]:
    event = {"kind": kind, "iteration": 1, "data": {"dispatch_id": "d", **data}}
    return [text.strip() for text, _ in describe(event, running)]


def test_what_a_command_has_shown_is_not_shown_again_with_its_result() -> None:
    running = Running()
    assert show(running, "dispatch.output", stdout="one\ntw", stderr="") == ["one"]
    assert show(running, "dispatch.output", stdout="o\nthr", stderr="warning\n") == ["two", "warning"]
    told = show(running, "dispatch.completed", stdout="one\ntwo\nthree\nfour\n", stderr="warning\n", exit_code=3)
    assert told == ["three", "four", "exit code 3"]


def test_a_result_without_what_was_shown_is_shown_whole() -> None:
    running = Running()
    assert show(running, "dispatch.output", stdout="x\n", stderr="", skipped_bytes=9) == ["(9 bytes left out)", "x"]
    assert show(running, "dispatch.completed", stdout="only the end\n", exit_code=0) == ["only the end"]
    assert show(running, "dispatch.completed", stdout="x\n", exit_code=0) == ["x"]
