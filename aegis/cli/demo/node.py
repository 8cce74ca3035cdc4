"""A daemon of the demo's own: configuration, process, and what it left on the engine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aegis.cli.client import Client
from aegis.cli.failures import CommandFailed
from aegis.cli.output import say

READY_SECONDS = 180.0  # an emulated machine takes a minute to import what a real one does in two seconds
STOP_SECONDS = 60.0
POLL_SECONDS = 0.1
LOG_LINES_SHOWN = 20
HERE = Path(__file__).parent


class DemoNode:
    """State and configuration below `directory`; what `base_config` says of Docker and addresses is kept."""

    def __init__(self, directory: Path, *, base_config: Path | None, allow_root: bool) -> None:
        self.directory = directory
        self.log = directory / "daemon.log"
        self._arguments = ["--allow-root"] if allow_root else []
        self._config = self._write_config(base_config)
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Client

    def volume_directory(self, volume: dict[str, Any]) -> Path:
        """Where the daemon keeps this volume's files."""
        return self.directory / "state" / "volumes" / str(volume["export_path"]).strip("/") / "data"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The daemon for as long as the block, ready when it begins and ended in order when it ends."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aegis", "daemon", "--config", str(self._config), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_ready()
            yield
        finally:
            self._stop()

    async def left_over(self) -> list[Any]:
        """What the engine still has of this daemon."""
        from aegis.config.load import load_config
        from aegis.daemon import parts
        from aegis.domain.labels import NODE_ID

        config = load_config(self._config, os.environ, secrets=parts.open_secrets).config
        node_id = parts.node_id(Path(config.node.state_directory))
        engine = parts.engine(config, node_id)
        try:
            return [each for each in await engine.list_managed() if each.labels.get(NODE_ID) == node_id]
        finally:
            await engine.close()

    def _write_config(self, base: Path | None) -> Path:
        import yaml  # here: `aegis --help` should not pay for it

        document: dict[str, Any] = yaml.safe_load(base.read_text()) if base is not None else {}
        for key in ("node", "storage", "models", "api"):
            document.setdefault(key, {})
        state = self.directory / "state"
        document["node"] |= {"name": "demo", "state_directory": str(state)}
        document["models"] = {"default": {"provider": "script", "script": str(HERE / "model.yaml")}}
        document["storage"]["root"] = str(state / "volumes")
        document["database"] = {"url": f"sqlite+aiosqlite:///{state}/aegis.db"}
        if base is None:  # beside a daemon that may run already, and without its ports
            document["storage"]["nfs_listen_addr"] = f"127.0.0.1:{free_port()}"
            document["api"]["listen"] = [f"127.0.0.1:{free_port()}"]
            document["runtime"] = {"network_name": "aegis-demo", "network_subnet": "10.97.16.0/24"}
        self._address = str(document["api"]["listen"][0])
        path = self.directory / "config.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def _wait_until_ready(self) -> None:
        url = f"http://{self._address}"
        say(f"starting a daemon of its own at {url}", "dim")
        deadline = time.monotonic() + READY_SECONDS
        missing = "nothing answers"
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise CommandFailed(f"The daemon ended:\n{self._last_lines()}", next_step="aegis doctor")
            with contextlib.suppress(CommandFailed):
                probe = Client(url, token="")
                code, body = probe.status_of("/health/ready")
                if code == 200:
                    self.client = Client(url, token=(self.directory / "state" / "api-token").read_text().strip())
                    return
                missing = body.decode(errors="replace")
            time.sleep(POLL_SECONDS)
        raise CommandFailed(
            f"The daemon is not ready after {READY_SECONDS:.0f} s: {what_is_missing(missing)}\n{self._last_lines()}",
            next_step="aegis doctor",
        )

    def _stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise CommandFailed(f"The daemon did not end within {STOP_SECONDS:.0f} s") from None
        if self._process.returncode != 0 and sys.exc_info()[0] is None:
            kept = Path(shutil.copy(self.log, Path(self.directory.parent) / "aegis-demo-daemon.log"))
            raise CommandFailed(f"The daemon ended with {self._process.returncode}", next_step=f"See {kept}")

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


def what_is_missing(body: str) -> str:
    """The dependencies that are down, of the readiness answer (one JSON line each); else the text as it is."""
    down = []
    for line in body.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            return body
        if isinstance(found, dict) and not found.get("ok", True):
            down.append(f"{found.get('dependency')}: {found.get('detail') or found.get('code')}")
    return "; ".join(down) or body


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
