"""What the isolation table says: ratios of paired runs, and whether the goal is met."""

from __future__ import annotations

import json
from pathlib import Path

from bench import isolation
from bench.isolation import Measured
from bench.production import TURNS_FILE
from bench.run import turns_of_state


def test_only_the_runs_of_a_pair_are_divided() -> None:
    assert isolation.GOAL == 2
    measured = Measured("COMMITs", [(100.0, 150.0), (1000.0, 1000.0), (10.0, 30.0)], "1 ms")
    assert measured.ratio() == (1.5, 1.0, 3.0)


def test_a_row_says_met_up_to_the_goal_and_missed_above_it() -> None:
    met = Measured("a", [(100.0, 200.0)], "")
    missed = Measured("b", [(100.0, 201.0)], "")
    lines = isolation.table([met, missed]).splitlines()[2:]
    assert "2 met" in lines[0]
    assert "2 missed" in lines[1]


def test_the_longest_turn_is_read_from_what_the_server_left(tmp_path: Path) -> None:
    assert turns_of_state(tmp_path) == ""
    counts = [0] * 64
    counts[3] = 100_000
    counts[12] = 1
    (tmp_path / TURNS_FILE).write_text(json.dumps({"unit_ns": 1024, "counts": counts, "longest_ns": 4_100_000}))
    assert turns_of_state(tmp_path) == "4.1 ms; 99.99 % below 0.0 ms"
