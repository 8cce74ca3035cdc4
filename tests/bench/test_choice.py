"""What can be asked for on the command line, and what a wrong word is answered with."""

from __future__ import annotations

import pytest

from bench import chores, rows
from bench.__main__ import parser
from bench.errors import BenchError


def test_rows_come_in_the_order_asked_for() -> None:
    assert [row.name for row in rows.chosen("lookup, getattr", quick=False)] == ["lookup", "getattr"]


def test_without_a_list_all_rows_are_meant_and_the_short_form_leaves_some_out() -> None:
    assert list(rows.chosen(None, quick=False)) == list(rows.ROWS)
    assert 0 < len(rows.chosen(None, quick=True)) < len(rows.ROWS)


@pytest.mark.parametrize("words", ["getatr", "", ",", "getattr,nonsense"])
def test_an_unknown_row_or_scene_is_refused_with_those_there_are(words: str) -> None:
    with pytest.raises(BenchError, match=r"there are: getattr, "):
        rows.chosen(words, quick=False)
    with pytest.raises(BenchError, match=r"there are: tree, git"):
        chores.chosen(words, quick=False)


def test_names_are_unique_so_that_each_can_be_asked_for() -> None:
    names = [row.name for row in rows.ROWS]
    assert len(set(names)) == len(names)
    names = [chore.name for scene in chores.SCENES for chore in scene.chores]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", rows.ROWS, ids=lambda row: row.name)
def test_the_generator_is_told_everything_a_load_says(row: rows.Row) -> None:
    words = row.load.words()
    assert words[-1] == row.load.operation
    assert f"--outstanding={row.load.outstanding}" in words
    assert f"--connections={row.load.connections}" in words
    if row.load.operation in ("read", "write"):
        assert f"--io-bytes={row.load.io_bytes}" in words
    if row.load.operation == "write":
        assert f"--commit-mib={row.load.commit_mib}" in words
        assert f"--stable={row.load.stable}" in words


@pytest.mark.parametrize(
    "words", [["--repetitions", "0"], ["--repetitions", "x"], ["--seconds", "0"], ["--loop", "trio"], ["disk"]]
)
def test_a_wrong_command_line_is_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert words[-1] in capsys.readouterr().err
