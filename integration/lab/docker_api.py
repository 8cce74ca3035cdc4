"""As much of the Docker Engine API as the lab needs for itself, over any socket, in the standard library.

Tests of the product use the product's own adapter; this one prepares images and checks that the lab works.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integration.lab.errors import LabError, tail
from integration.lab.process import CommandTimeout, Result

API_SECONDS = 120.0
READY_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class NfsMount:
    """A Docker volume of the local driver over NFS, mounted at `target`; `options` is the string for `o=`."""

    export: str
    options: str
    target: str = "/workspace"
    read_only: bool = False


class DockerApi:
    """Docker's HTTP API; `connect` makes one connected socket for each call."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect

    def call(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None,
        timeout: float = API_SECONDS,
    ) -> Any:  # fmt: skip
        """One call. The body is JSON, or bytes or a file as they are; the answer is JSON where it is. `LabError` from
        400 up."""
        connection = http.client.HTTPConnection("docker", timeout=timeout)
        connection.sock = self._connect()
        connection.sock.settimeout(timeout)
        raw = isinstance(body, bytes) or hasattr(body, "read")
        headers = {"Content-Type": "application/x-tar" if raw else "application/json"}
        data = body if raw or body is None else json.dumps(body).encode()
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            raise LabError(
                f"Docker answered {response.status} to {method} {path}: {content.decode('utf-8', 'replace')}"
            )
        is_json = response.headers.get_content_type() == "application/json" and content
        try:
            return json.loads(content) if is_json else content
        except json.JSONDecodeError:
            return content  # a stream of JSON lines

    def ready(self) -> bool:
        """Whether the engine answers /_ping now."""
        try:
            return bool(self.call("GET", "/_ping", timeout=5) == b"OK")
        except (OSError, LabError, http.client.HTTPException):
            return False

    def wait_until_ready(self, timeout: float, console: Path) -> None:
        """Return when the engine answers; `LabError` with the end of `console` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.ready():
            if time.monotonic() > deadline:
                raise LabError(f"the Docker Engine did not answer in {timeout:.0f} s\n{tail(console)}")
            time.sleep(READY_POLL_SECONDS)

    def import_image(self, name: str, archive: Path, changes: Iterable[str]) -> None:
        """Make an image of a root file system in a tar."""
        query = [("fromSrc", "-"), ("repo", name), ("tag", "latest"), *(("changes", change) for change in changes)]
        with archive.open("rb") as body:
            self.call("POST", "/images/create?" + urllib.parse.urlencode(query), body)

    def has_image(self, name: str) -> bool:
        """Whether the engine has this image."""
        try:
            self.call("GET", f"/images/{name}/json")
        except LabError:
            return False
        return True

    def run(
        self, image: str, argv: list[str], *, uid: int = 1000, mounts: Iterable[NfsMount] = (), network: str = "none",
        cwd: str | None = None, env: Mapping[str, str] | None = None, locked_down: bool = False,
        timeout: float = API_SECONDS,
    ) -> Result:  # fmt: skip
        """Run a container to its end and remove it with its volumes. `LabError` when it does not start.

        `cwd` is the first mount if it is not given; `locked_down` as agents' containers are: no capabilities, no new
        privileges.
        """
        started = time.monotonic()
        mounts = list(mounts)
        volumes = {f"lab-{secrets.token_hex(8)}": mount for mount in mounts}
        lock = {"CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"]} if locked_down else {}
        mounted = [_mount(name, mount) for name, mount in volumes.items()]
        created = self.call("POST", "/containers/create", {
            "Image": image, "Cmd": argv, "User": f"{uid}:{uid}", "Env": [f"{key}={env[key]}" for key in env or {}],
            "WorkingDir": cwd or (mounts[0].target if mounts else "/tmp"),
            "HostConfig": {"NetworkMode": network, "Mounts": mounted, **lock},
        })  # fmt: skip
        path = f"/containers/{created['Id']}"
        try:
            self.call("POST", f"{path}/start")
            status = self.call("POST", f"{path}/wait", timeout=timeout)["StatusCode"]
            streams = _demultiplex(self.call("GET", f"{path}/logs", query={"stdout": "1", "stderr": "1"}))
        except TimeoutError:
            raise CommandTimeout(f"container of {image} still ran {argv} after {timeout:.1f} s") from None
        finally:
            self.call("DELETE", path, query={"force": "1"})
            for name in volumes:
                self.call("DELETE", f"/volumes/{name}", query={"force": "1"})
        return Result(tuple(argv), status, streams[1], streams[2], time.monotonic() - started)


def _mount(name: str, mount: NfsMount) -> dict[str, Any]:
    options = {"type": "nfs", "o": mount.options, "device": f":{mount.export}"}
    return {
        "Type": "volume", "Source": name, "Target": mount.target, "ReadOnly": mount.read_only,
        "VolumeOptions": {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": options}},
    }  # fmt: skip


def _demultiplex(data: bytes) -> dict[int, bytes]:
    """Docker's attach format: stream number, three zero bytes, a big-endian length, the data."""
    streams = {1: b"", 2: b""}
    while len(data) >= 8:
        end = 8 + int.from_bytes(data[4:8], "big")
        streams[data[0]] += data[8:end]
        data = data[end:]
    return streams
