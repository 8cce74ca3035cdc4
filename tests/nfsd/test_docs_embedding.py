"""The programs of docs/embedding.md, run as a reader would run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nfsd
from tests.support.documents import DOCS, code_blocks
from tests.support.peer import Peer

DOCUMENT = DOCS / "embedding.md"
SERVE, LAYERS = code_blocks(DOCUMENT, "python")
PRINTED = code_blocks(DOCUMENT, "text")[0]


@contextmanager
def _serving(program: Path, *arguments: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-W", "error", str(program), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            host, _, port = process.stdout.readline().strip().partition(":")
            assert port, process.stderr.read()
            yield host, int(port)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")


def test_the_server_of_the_page_serves_and_its_handles_survive_its_restart(tmp_path: Path) -> None:
    program, directory, state = tmp_path / "serve.py", tmp_path / "volume", tmp_path / "state"
    program.write_text(SERVE)
    directory.mkdir()
    state.mkdir()
    with _serving(program, directory, state) as address, Peer(address) as peer:
        root = peer.mount(b"/tenant/volume")
        handle = peer.create(root, b"file")
        peer.write(handle, 0, b"kept")
    with _serving(program, directory, state) as address, Peer(address) as peer:
        assert peer.read(handle, 0, 100).data == b"kept"
        assert peer.getattr(handle).uid == 1000
    assert (directory / "file").read_bytes() == b"kept"
    assert os.stat(state / "secret").st_mode & 0o077 == 0


def test_the_layers_of_the_page_print_what_it_says(tmp_path: Path) -> None:
    program = tmp_path / "layers.py"
    program.write_text(LAYERS)
    done = subprocess.run([sys.executable, "-W", "error", str(program)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PRINTED


def test_every_public_name_is_on_the_page() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in nfsd.__all__ if name not in text] == []
