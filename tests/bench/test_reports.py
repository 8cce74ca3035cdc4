"""What a person sees: the table and the picture; and what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import results
from bench.errors import BenchError
from bench.generator import parse
from bench.plot import Bar, svg
from bench.protocol import Measured
from bench.ratios import Spread
from bench.rows import Load, Row
from bench.table import disturbance, markdown, protocol_table


def sample(rate: float, p99: float = 10.0, share: float = 1.0) -> dict[str, float]:
    return {"calls_per_second": rate, "p50_us": 5.0, "p99_us": p99, "server_cpu_share": share}


def measured(name: str, *pairs: tuple[dict[str, float], dict[str, float]], goal: float | None = None) -> Measured:
    return Measured(Row(name, name.upper(), Load("getattr"), goal), list(pairs))


@pytest.mark.parametrize(("goal", "word"), [(2.0, "2.0 met"), (2.1, "2.1 missed")])
def test_a_goal_is_met_by_the_median_of_the_pairs(goal: float, word: str) -> None:
    pairs = [(sample(100), sample(100)), (sample(200), sample(100)), (sample(900), sample(100))]
    line = protocol_table([measured("getattr", *pairs, goal=goal)]).splitlines()[2]
    assert word in line
    assert "2.00 (1.00-9.00)" in line


def test_a_row_that_failed_says_so_and_claims_nothing() -> None:
    failed = measured("getattr", goal=1.0)
    failed.failure = "nfsd: READ: wrong contents"
    line = protocol_table([failed]).splitlines()[2]
    assert "failed" in line
    assert "met" not in line


def test_lines_of_a_table_have_one_width_and_the_head_a_rule_below() -> None:
    lines = markdown([("a", "b"), ("longer than the head", "1"), ("x", "123456")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) <= set("|-: ")


def test_the_disturbance_by_commits_is_told_for_each_server_by_its_own_quiet_figure() -> None:
    quiet = measured("getattr-1", (sample(1, p99=10), sample(1, p99=100)))
    busy = measured("getattr-commits", (sample(1, p99=30), sample(1, p99=100)))
    remark = disturbance([quiet, busy])
    assert remark is not None
    assert "nfsd 3.0 times" in remark
    assert "ganesha 1.0 times" in remark
    assert disturbance([quiet]) is None


def test_the_picture_is_sound_xml_with_every_title_also_when_there_is_nothing_to_show() -> None:
    bars = [Bar("a < b & c", Spread(2.0, 1.0, 4.0), 2.5), Bar("slow", Spread(0.01, 0.005, 30.0), None)]
    text = "".join(ElementTree.fromstring(svg("title", "subtitle", bars)).itertext())
    assert "a < b & c" in text
    assert "goal 2.5" in text
    ElementTree.fromstring(svg("title", "subtitle", []))


def test_every_mark_of_the_picture_is_inside_of_it() -> None:
    root = ElementTree.fromstring(svg("t", "s", [Bar("x", Spread(0.02, 0.001, 50.0), 2.5)]))
    width = float(root.attrib["viewBox"].split()[2])
    places = [float(mark.attrib[key]) for mark in root.iter() for key in ("x1", "x2", "cx") if key in mark.attrib]
    assert places
    assert all(0 <= place <= width for place in places)


def test_a_dot_further_right_is_a_better_ratio() -> None:
    root = ElementTree.fromstring(svg("t", "s", [Bar("x", Spread(r, r, r), None) for r in (0.5, 1.0, 2.0)]))
    left, middle, right = (float(mark.attrib["cx"]) for mark in root.iter() if "cx" in mark.attrib)
    assert right - middle == pytest.approx(middle - left, abs=0.2)
    assert right > middle


def test_results_replace_those_of_an_earlier_run_and_leave_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    for table in ("| first |", "| second |"):
        results.write("protocol", {"loop": "asyncio"}, {"seconds": 1.0}, [{"name": "getattr"}], table, "<svg/>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["protocol.json", "protocol.md", "protocol.svg"]
    assert json.loads((tmp_path / "protocol.json").read_text())["machine"] == {"loop": "asyncio"}
    assert "| second |" in (tmp_path / "protocol.md").read_text()


def test_the_generators_line_is_numbers_by_name() -> None:
    line = '{"operation": "getattr", "seconds": 1.5, "calls": 3}'
    assert parse(line) == {"seconds": 1.5, "calls": 3.0}


@pytest.mark.parametrize("line", ["", "nonsense", "[1]", '{"calls": null}', '{"calls": "many"}'])
def test_anything_else_is_named_in_the_error(line: str) -> None:
    with pytest.raises(BenchError, match="the load generator said"):
        parse(line)
