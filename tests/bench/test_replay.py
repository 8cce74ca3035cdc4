"""The measurement of the duplicate request cache, and the bound of its memory that it relies on."""

from __future__ import annotations

import argparse

import pytest

from bench import replay
from nfsd.limits import REPLAY_BYTES_MAX, REPLAY_ENTRIES_MAX


def test_a_full_cache_takes_no_more_memory_than_it_counts_and_counts_no_more_than_it_may() -> None:
    entries, taken, counted = replay.full()
    assert entries == REPLAY_ENTRIES_MAX
    assert 0 < taken <= counted <= REPLAY_BYTES_MAX


def test_every_way_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(replay, "CALLS", 20)
    monkeypatch.setattr(replay, "REPETITIONS", 2)
    assert replay.command(argparse.Namespace()) == 0
    shown = capsys.readouterr().out
    for way in replay.WAYS:
        assert f"| {way.name} " in shown
    assert f"taken in by the next process: {REPLAY_ENTRIES_MAX:,} answers" in shown
