"""`python -m nfsd` as a process: it says when it is ready, what stops it, and it ends when told to."""

import os
import signal
import socket
from pathlib import Path

import pytest

from nfsd.cli.state import SECRET_BYTES, StateError, handle_secret
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc, StableHow
from tests.support.command import Nfsd, give, ordinary_user
from tests.support.peer import Peer


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    give(home)
    give(home / "data")
    return home


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_it_says_when_it_is_ready_how_to_mount_it_and_ends_when_told(
    home: Path, how: signal.Signals, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    with Nfsd("--listen", "127.0.0.1:0", "--loop", loop, home / "data", home=home) as nfsd:
        assert nfsd.ready == f"nfsd: serving /data on 127.0.0.1:{nfsd.port}"
        with Peer(("127.0.0.1", nfsd.port)) as peer:
            peer.mount(b"/data")
            code, said = nfsd.stop(how)
    assert code == 0
    assert f"-o nfsvers=3,proto=tcp,port={nfsd.port},mountport={nfsd.port},mountproto=tcp,nolock" in said
    assert "ERROR" not in said
    assert (home / ".local" / "state" / "nfsd" / "handle-secret").stat().st_mode & 0o777 == 0o600


def test_read_only_quota_and_owner_are_what_was_asked(home: Path) -> None:
    (home / "data" / "file").write_bytes(bytes(600))
    arguments = ["--listen", "127.0.0.1:0", "--uid", "4711", "--gid", "4712"]
    with Nfsd(*arguments, "--read-only", home / "data", home=home) as nfsd, Peer(("127.0.0.1", nfsd.port)) as peer:
        root = peer.mount(b"/data")
        file = peer.lookup(root, b"file")
        assert (peer.getattr(file).uid, peer.getattr(file).gid) == (4711, 4712)
        assert peer.remove(root, b"file") is Nfsstat3.NFS3ERR_ROFS
    with Nfsd(*arguments, "--quota", "1k", home / "data", home=home) as nfsd, Peer(("127.0.0.1", nfsd.port)) as peer:
        root = peer.mount(b"/data")
        assert peer.ok(Proc.FSSTAT, t.Object3Args(root)).tbytes == 1000
        new = peer.create(root, b"new")
        too_much = t.Write3Args(new, 0, 500, StableHow.FILE_SYNC, bytes(500))
        assert peer.status(Proc.WRITE, too_much) is Nfsstat3.NFS3ERR_NOSPC
        assert peer.write(new, 0, bytes(400)).count == 400


def test_a_taken_port_ends_it_with_the_next_step(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Nfsd("--listen", f"127.0.0.1:{port}", home / "data", home=home) as nfsd:
            code, said = nfsd.stop()
    assert (code, nfsd.ready) == (1, "")
    assert f"nfsd: 127.0.0.1:{port} is in use" in said
    assert f"ss -ltnp 'sport = :{port}'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("missing", None, "does not exist; make it first: mkdir -p"),
        ("file", 0o644, "is not a directory"),
        ("locked", 0o000, "cannot be read"),
        ("readable", 0o555, "cannot be written"),
    ],
)
def test_a_directory_that_cannot_be_served_ends_it(home: Path, name: str, mode: int | None, said: str) -> None:
    path = home / name
    if mode is not None:
        path.touch() if name == "file" else path.mkdir()
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
    with Nfsd("--listen", "127.0.0.1:0", path, home=home) as nfsd:
        code, told = nfsd.stop()
    assert code == 1
    assert f"nfsd: {path} {said}" in told
    assert "Traceback" not in told


def test_root_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from nfsd.cli.options import parse
    from nfsd.cli.serve import run

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run(parse([str(home / "data")])) == 1
    assert "refusing to run as root" in capsys.readouterr().err


def test_the_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    secret = handle_secret(tmp_path / "state")
    assert len(secret) == SECRET_BYTES
    assert handle_secret(tmp_path / "state") == secret
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["handle-secret"]


def test_a_secret_others_can_read_or_that_is_cut_is_refused(tmp_path: Path) -> None:
    handle_secret(tmp_path)
    path = tmp_path / "handle-secret"
    path.chmod(0o644)
    with pytest.raises(StateError, match="read by others"):
        handle_secret(tmp_path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(StateError, match="5 bytes, wanted 32"):
        handle_secret(tmp_path)


def test_a_state_directory_that_cannot_be_used_is_named(home: Path) -> None:
    (home / "data" / "file").touch()
    with Nfsd("--state-dir", home / "data" / "file", "--listen", "127.0.0.1:0", home / "data", home=home) as nfsd:
        code, said = nfsd.stop()
    assert code == 1
    assert "give another with --state-dir" in said


def test_the_tests_run_the_server_as_an_ordinary_user() -> None:
    assert os.geteuid() != 0 or ordinary_user()[0] == "setpriv"
