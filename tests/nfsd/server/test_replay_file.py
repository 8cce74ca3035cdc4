"""What was answered is known to the next process, whenever the last one was cut off."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.limits import REPLAY_ARGUMENT_BYTES_MAX, REPLAY_ENTRIES_MAX
from nfsd.procedures.replayed import Kept
from nfsd.rpc.replay import Key
from nfsd.server.replay_file import FILE_BYTES, ReplayFile, open_replay_file

words = some.integers(0, 0xFFFFFFFF)
keys = some.tuples(
    some.sampled_from(["127.0.0.1", "fe80::1%eth0", ""]), words, words, words, words, words,
    some.binary(max_size=REPLAY_ARGUMENT_BYTES_MAX),
)  # fmt: skip


def key(number: int) -> Key:
    return ("127.0.0.1", number, 100003, 3, 12, 60, b"handle and name")


def reopened(path: Path) -> list[Kept]:
    file = ReplayFile(path)
    try:
        return file.recovered()
    finally:
        file.close()


@given(some.lists(some.tuples(keys, some.none() | some.binary(max_size=500)), max_size=20))
def test_everything_comes_back_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[Key, bytes | None]]
) -> None:
    path = tmp_path_factory.mktemp("replies") / "replies"
    file = ReplayFile(path)
    for key, body in calls:
        file.begun(key) if body is None else file.done(key, body)
    file.close()
    kept = reopened(path)
    assert [(each.key, each.body) for each in kept] == calls
    assert all(0 <= each.age_seconds < 600 for each in kept)


def test_the_call_that_was_being_worked_on_is_told_unless_more_is_known_of_it(tmp_path: Path) -> None:
    for number, then in enumerate(("nothing", "begun", "done")):
        file = ReplayFile(tmp_path / then)
        file.done(key(100), b"before")
        file.intended(key(99))
        file.intended(key(number))
        if then == "begun":
            file.begun(key(number))
        elif then == "done":
            file.done(key(number), b"answer")
        file.close()
        last = reopened(tmp_path / then)[-1]
        assert (last.key, last.executed) == (key(number), then != "nothing")
        assert last.body == (b"answer" if then == "done" else None)


def test_the_newest_are_kept_as_many_as_the_cache_holds_half_of(tmp_path: Path) -> None:
    file = ReplayFile(tmp_path / "replies")
    count = 3 * REPLAY_ENTRIES_MAX
    for number in range(count):
        file.done(key(number), bytes(300))
    file.close()
    assert (tmp_path / "replies").stat().st_size == FILE_BYTES
    numbers = [each.key[1] for each in reopened(tmp_path / "replies")]
    assert numbers == list(range(count - len(numbers), count))
    assert len(numbers) > REPLAY_ENTRIES_MAX


def test_a_third_process_knows_what_the_first_answered(tmp_path: Path) -> None:
    for number in range(3):
        file = ReplayFile(tmp_path / "replies")
        file.done(key(number), b"%d" % number)
        file.close()
    assert [each.body for each in reopened(tmp_path / "replies")] == [b"0", b"1", b"2"]


@given(cut=some.integers(0, 400), what=some.binary(min_size=1, max_size=8))
def test_an_entry_that_is_damaged_ends_the_half_and_harms_nothing_before_it(
    tmp_path_factory: pytest.TempPathFactory, cut: int, what: bytes
) -> None:
    path = tmp_path_factory.mktemp("replies") / "replies"
    file = ReplayFile(path)
    for number in range(4):
        file.done(key(number), b"answer %d" % number)
    file.close()
    data = bytearray(path.read_bytes())
    start = data.index(b"answer 1")
    data[start + cut : start + cut + len(what)] = what
    path.write_bytes(data[:FILE_BYTES])
    bodies = [each.body for each in reopened(path)]
    assert bodies[:1] == [b"answer 0"] and len(bodies) <= 4
    assert all(body == b"answer %d" % number for number, body in enumerate(bodies))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"text of somebody else " * 1000])
def test_a_file_that_is_none_of_ours_is_taken_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "replies").write_bytes(content)
    file = ReplayFile(tmp_path / "replies")
    assert file.recovered() == []
    file.done(key(1), b"answer")
    file.close()
    assert [each.body for each in reopened(tmp_path / "replies")] == [b"answer"]


def test_a_second_server_on_the_same_file_goes_without_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = open_replay_file(tmp_path / "replies")
    assert first is not None
    with caplog.at_level(logging.WARNING, "nfsd"):
        assert open_replay_file(tmp_path / "replies") is None
        assert open_replay_file(tmp_path / "no" / "such" / "directory") is None
    first.close()
    assert ["another server's" in caplog.messages[0], "No such file" in caplog.messages[1]] == [True, True]


def test_the_age_is_the_wall_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ReplayFile(tmp_path / "replies")
    file.done(key(1), b"answer")
    file.close()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert 99 < reopened(tmp_path / "replies")[0].age_seconds < 200
    monkeypatch.setattr(time, "time", lambda: now - 100)  # the clock was set back
    assert reopened(tmp_path / "replies")[0].age_seconds == 0
