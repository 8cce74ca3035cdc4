"""The curves: sizes that are met exactly, a tree as the generator wants it, figures read as the kernel writes them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from bench import curve_plot, curves
from bench.errors import BenchError


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("axis", curves.AXES)
def test_an_axis_grows_and_its_short_form_is_the_beginning_of_it(axis: str, quick: bool) -> None:
    sizes = curves.sizes(axis, quick)
    assert len(sizes) > 1
    assert all(before < after for before, after in pairwise(sizes))
    assert list(sizes) == list(curves.AXES[axis][: len(sizes)])


def test_directories_of_files_add_up_to_every_size_wanted() -> None:
    wanted = curves.AXES["files"]
    ends = {start + count for start, count in curves.chunks(wanted)}
    assert set(wanted) <= ends
    assert all(0 < count <= curves.DIRECTORY_FILES for _, count in curves.chunks(wanted))
    assert sum(count for _, count in curves.chunks(wanted)) == wanted[-1]


def test_memory_is_read_as_the_kernel_says_it() -> None:
    assert curves.resident_mib(Path("/proc/self/smaps_rollup").read_text("ascii"))[0] > 1
    assert curves.resident_mib("Rss:   2048 kB\nPss:\t 1024 kB\nPss_Dirty: 7 kB\n") == (2.0, 1.0)


def test_a_server_that_ended_has_no_memory_to_be_read() -> None:
    with pytest.raises(BenchError, match="is it still running"):
        curves.resident_mib("")


def test_the_picture_has_a_curve_for_each_rate_and_one_for_memory() -> None:
    samples = {name: [100.0, 90.0, 110.0] for name in curves.RATES}
    points = [curves.Point("entries", size, samples, 40.0, 30.0, None) for size in (100, 1_000)]
    root = ET.fromstring(curve_plot.svg("a < b", curves.panels(points)))
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(curves.RATES) + 1
    assert all(len(line.attrib["points"].split()) == len(points) for line in lines)


def test_a_level_curve_is_drawn_level_and_a_proportional_one_rises_in_proportion() -> None:
    panel = curve_plot.Panel("p", {"level": [(1, 5), (100, 5)], "rising": [(1, 1), (10, 10), (100, 100)]})
    level, rising = ET.fromstring(curve_plot.svg("t", [[panel]])).findall("{http://www.w3.org/2000/svg}polyline")
    heights = [[float(point.split(",")[1]) for point in line.attrib["points"].split()] for line in (level, rising)]
    assert heights[0][0] == heights[0][1]
    assert heights[1][0] - heights[1][1] == pytest.approx(heights[1][1] - heights[1][2], abs=0.2)
