"""Debian's libnfs tools against `python -m nfsd` run by an ordinary user: somebody else's idea of an NFS client."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Nfsd, give

pytestmark = pytest.mark.skipif(
    shutil.which("nfs-ls") is None, reason="Debian's libnfs-utils is not installed: apt-get install libnfs-utils"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "volume").mkdir(parents=True)
    give(home)
    give(home / "volume")
    return home


@pytest.fixture
def nfsd(home: Path) -> Iterator[Nfsd]:
    with Nfsd("--listen", "127.0.0.1:0", "--export", f"/t/v={home / 'volume'}", home=home) as nfsd:
        yield nfsd
        code, said = nfsd.stop()
        assert code == 0
        assert "ERROR" not in said
        assert "WARNING" not in said


def _tool(*words: str) -> bytes:
    return subprocess.run(words, capture_output=True, check=True, timeout=60).stdout


def test_nfs_cp_nfs_cat_and_nfs_ls_agree_with_the_host(nfsd: Nfsd, home: Path, tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "source").write_bytes(data)
    at = "nfs://127.0.0.1/t/v"
    _tool("nfs-cp", str(tmp_path / "source"), f"{at}/copy{nfsd.url}")
    assert (home / "volume" / "copy").read_bytes() == data
    assert _tool("nfs-cat", f"{at}/copy{nfsd.url}") == data
    (home / "volume" / "sub").mkdir()
    listing = _tool("nfs-ls", f"{at}{nfsd.url}").decode()
    assert {line.split()[-1] for line in listing.splitlines()} == {"copy", "sub"}
    assert any(line.startswith("-rw") and "3000001" in line for line in listing.splitlines())


def test_a_path_below_the_export_can_be_listed(nfsd: Nfsd, home: Path) -> None:
    (home / "volume" / "sub").mkdir()
    (home / "volume" / "sub" / "inside").touch()
    assert _tool("nfs-ls", f"nfs://127.0.0.1/t/v/sub{nfsd.url}").split()[-1] == b"inside"


def test_an_export_that_is_not_there_is_refused(nfsd: Nfsd) -> None:
    result = subprocess.run(
        ["nfs-ls", f"nfs://127.0.0.1/etc{nfsd.url}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode != 0
    assert "MNT3ERR_NOENT" in result.stderr


def test_a_copy_goes_on_over_a_kill_and_restart_of_the_server(home: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(1 << 20))
    at = "nfs://127.0.0.1/t/v"
    export = f"/t/v={home / 'volume'}"
    with Nfsd("--listen", "127.0.0.1:0", "--export", export, home=home) as first:
        _tool("nfs-cp", str(tmp_path / "source"), f"{at}/copy{first.url}")
        first.stop(signal.SIGKILL)
        with Nfsd("--listen", f"127.0.0.1:{first.port}", "--export", export, home=home) as again:
            assert again.port == first.port
            assert _tool("nfs-cat", f"{at}/copy{again.url}") == (tmp_path / "source").read_bytes()
