"""Setting times by the kernel's own clock, on a real file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nfsd.vfs.interface import NOW
from nfsd.vfs.times import set_times

ROUNDS = 200


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


def test_now_is_never_before_a_time_the_file_system_gave_out_earlier(file: Path, tmp_path: Path) -> None:
    # Fails on Linux 6.13 and later when "now" is the value of a clock: looking at a file makes its next stamp a fine
    # one, ahead of the coarse clock by up to a tick.
    other = tmp_path / "other"
    other.touch()
    fd, other_fd = os.open(file, os.O_RDWR), os.open(other, os.O_RDWR)
    try:
        for _ in range(ROUNDS):
            os.fstat(other_fd)
            os.ftruncate(other_fd, 0)
            earlier = os.fstat(other_fd).st_mtime_ns
            set_times(fd, None, None, NOW)
            assert os.fstat(fd).st_mtime_ns >= earlier
    finally:
        os.close(fd)
        os.close(other_fd)


@pytest.mark.parametrize("by_name", [False, True])
def test_each_time_is_set_to_now_given_or_left_on_its_own(file: Path, tmp_path: Path, by_name: bool) -> None:
    fd = os.open(tmp_path if by_name else file, os.O_RDONLY)
    name = os.fsencode(file.name) if by_name else None
    try:
        set_times(fd, name, 1, 1_500_000_000_123_456_789)
        assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (1, 1_500_000_000_123_456_789)
        set_times(fd, name, 2, None)
        assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (2, 1_500_000_000_123_456_789)
        set_times(fd, name, None, NOW)
        assert file.stat().st_atime_ns == 2
        assert file.stat().st_mtime_ns == file.stat().st_ctime_ns
    finally:
        os.close(fd)


def test_a_symlink_is_not_followed(file: Path, tmp_path: Path) -> None:
    os.utime(file, ns=(5, 5))
    (tmp_path / "link").symlink_to("file")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        set_times(directory, b"link", 7, 7)
    finally:
        os.close(directory)
    assert (file.stat().st_mtime_ns, (tmp_path / "link").lstat().st_mtime_ns) == (5, 7)


def test_a_failure_is_the_systems_own_oserror(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileNotFoundError) as raised:
            set_times(directory, b"missing", 1, 1)
    finally:
        os.close(directory)
    assert raised.value.errno == errno.ENOENT
