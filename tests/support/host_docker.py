"""A real Docker Engine on this machine, in namespaces of its own: network, mounts, processes.

Nothing of it can outlive the test run: its first process dies with us (PDEATHSIG), and a pid namespace whose first
process dies takes every container, shim and daemon along. `/run` is private, the data root is the caller's temporary
directory, iptables rules live in the network namespace. Needs root and Debian's docker.io; `missing()` says what is
not there. There is no NFS: mounting a volume of type nfs fails as on any host whose kernel has no NFS client.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGKILL
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any
from urllib.parse import urlencode

BUSYBOX = "aegis-test/busybox:1"
BUSYBOX_PATH = "/usr/bin/busybox"  # busybox-static: an image of one file
START_SECONDS = 60.0
REGISTRY = "127.0.0.1:5000"  # in the engine's network namespace; Docker asks loopback registries by plain HTTP
REGISTRY_USER = "reader"
REGISTRY_PASSWORD = "let me in"
_REGISTRY_HTPASSWD = "reader:$2b$04$YagavwVVd91/t.85VoRROuv2OZxEvb1aq7WiAUX6AynajDjYL5TD."


def missing(*programs: tuple[str, str]) -> str | None:
    """Why no engine can be started here, with the command that helps; None: it can."""
    if os.geteuid() != 0:
        return "a Docker Engine of our own can be started by root only"
    for program, package in (("dockerd", "docker.io"), (BUSYBOX_PATH, "busybox-static"), *programs):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install {package}"
    return None


class HostDocker:
    """`socket_path` is reachable from here; everything else of the engine is in its namespaces."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket_path = directory / "docker.sock"
        self._cgroup = f"/aegis-test-{os.getpid()}"
        self._running: list[subprocess.Popen[bytes]] = []
        self._holder: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._registry: subprocess.Popen[bytes] | None = None

    # ---- the engine's life ----

    def start(self) -> None:
        """Returns when the engine answers and has the busybox image."""
        # SIGCHLD ignored: the kernel itself reaps whatever is orphaned to this first process.
        hold = "exec env --ignore-signal=CHLD sleep infinity"
        namespaces = ["--pid", "--kill-child=KILL", "--mount-proc", "--mount", "--net", "--propagation", "private"]
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", *namespaces]
        script = f"mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && {hold}"
        self._holder = subprocess.Popen([*command, "sh", "-c", script], stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n", "the namespaces could not be made"
        self.start_dockerd()
        self.import_busybox()

    def start_dockerd(self) -> None:
        places = ["--data-root", str(self.directory / "data"), "--exec-root", "/run/docker", "-p", "/run/docker.pid"]
        places += ["--max-download-attempts", "1"]  # the engine's own repetitions take a minute; ours are tested
        reach = ["-H", f"unix://{self.socket_path}", "--cgroup-parent", self._cgroup]
        with (self.directory / "dockerd.log").open("ab") as log:
            self._dockerd = self.spawn(["dockerd", *places, *reach], log)
        self._until(lambda: self.api("GET", "/_ping", raw=True) == b"OK", "dockerd")

    def stop_dockerd(self, signal_name: str = "TERM") -> None:
        """Returns when the engine is gone; its containers are stopped by TERM, and orphaned by KILL."""
        assert self._dockerd is not None
        pid = (self._inside_path("/run/docker.pid")).read_text().strip()
        subprocess.run(self.inside(["kill", f"-{signal_name}", pid]), check=True)
        self._dockerd.wait(timeout=START_SECONDS)
        self._inside_path("/run/docker.pid").unlink(missing_ok=True)  # what KILL leaves

    def stop(self) -> None:
        if self._dockerd is not None and self._dockerd.poll() is None:
            self.stop_dockerd()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            assert self._holder.stdout is not None
            self._holder.stdout.close()
        for process in self._running:
            process.wait(timeout=START_SECONDS)
        self._remove_cgroups()

    # ---- inside its namespaces ----

    def inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self._first_pid()), "-m", "-n", "-p", "--", *command]

    def in_its_network(self, command: Sequence[str]) -> list[str]:
        """Replaced by the command, unlike `inside`: whoever kills the process kills the command."""
        return ["nsenter", "-t", str(self._first_pid()), "-n", "--", *command]

    def spawn(self, command: Sequence[str], log: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self.inside(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running.append(process)
        return process

    def _first_pid(self) -> int:
        assert self._holder is not None
        pid = self._holder.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _inside_path(self, path: str) -> Path:
        return Path(f"/proc/{self._first_pid()}/root{path}")

    def _remove_cgroups(self) -> None:
        for top in (*Path("/sys/fs/cgroup").glob(f"*{self._cgroup}"), Path(f"/sys/fs/cgroup{self._cgroup}")):
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)

    # ---- its API, apart from the code under test ----

    def api(self, method: str, path: str, body: Any = None, *, raw: bool = False, **headers: str) -> Any:
        connection = HTTPConnection("localhost")
        connection.sock = socket(AF_UNIX, SOCK_STREAM)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.socket_path))
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"} | {key.replace("_", "-"): headers[key] for key in headers}
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            answer = response.read()
            assert response.status < 400, f"{method} {path}: {response.status} {answer.decode()}"
        return answer if raw else json.loads(answer or b"null")

    def import_image(self, name: str, content: bytes, *changes: str) -> None:
        """An image from a tar archive, with lines of a Dockerfile applied to it."""
        repository, _, tag = name.rpartition(":")
        query = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": changes}
        path = "/images/create?" + urlencode(query, doseq=True)
        answer = self.api("POST", path, content, raw=True)
        assert b"error" not in answer, answer.decode()

    def load_image(self, name: str, layer: bytes, architecture: str) -> None:
        """An image of one layer that says it is for `architecture`, as `docker load` takes it (`import` says ours)."""
        digest = sha256(layer).hexdigest()
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": "2026-01-01T00:00:00Z"}],
        }
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path, content in (
                ("config.json", json.dumps(config).encode()),
                ("layer.tar", layer),
                ("manifest.json", json.dumps(manifest).encode()),
            ):
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        answer = self.api("POST", "/images/load?quiet=1", buffer.getvalue(), raw=True)
        assert b"error" not in answer, answer.decode()

    def import_busybox(self) -> None:
        """An image with `/bin/busybox` and its usual names, made as `docker import` does."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.add(BUSYBOX_PATH, "bin/busybox")
            for name in (
                "sh",
                "true",
                "false",
                "cat",
                "echo",
                "sleep",
                "id",
                "ls",
                "dd",
                "touch",
                "env",
                "wget",
                "stat",
            ):
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        self.import_image(BUSYBOX, buffer.getvalue())

    # ---- a registry beside it ----

    def start_registry(self) -> None:
        """A private registry at `REGISTRY` that holds `REGISTRY/team/busybox:1`, and the engine no longer does."""
        (self.directory / "htpasswd").write_text(_REGISTRY_HTPASSWD + "\n")
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(self.directory / "registry")}},
            "http": {"addr": REGISTRY},
            "auth": {"htpasswd": {"realm": "aegis-test", "path": str(self.directory / "htpasswd")}},
        }
        (self.directory / "registry.yml").write_text(json.dumps(config))  # JSON is YAML
        self.serve_registry()
        name = f"{REGISTRY}/team/busybox"
        self.api("POST", f"/images/{BUSYBOX}/tag?repo={name}&tag=1", raw=True)
        self.push(name, "1")
        self.api("DELETE", f"/images/{name}:1", raw=True)

    def serve_registry(self) -> None:
        """Returns when it answers; what it held before is still there."""
        with (self.directory / "registry.log").open("ab") as log:
            self._registry = self.spawn(["docker-registry", "serve", str(self.directory / "registry.yml")], log)
        host, port = REGISTRY.split(":")
        connect = f"import socket; socket.create_connection(({host!r}, {port}))"
        probe = self.inside([sys.executable, "-I", "-S", "-c", connect])
        self._until(
            lambda: subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0, "the registry"
        )

    def stop_registry(self) -> None:
        assert self._registry is not None
        child = Path(f"/proc/{self._registry.pid}/task/{self._registry.pid}/children").read_text().split()
        os.kill(int(child[0]), SIGKILL)  # nsenter's child: the registry
        self._registry.wait(timeout=START_SECONDS)

    def push(self, name: str, tag: str) -> None:
        auth = {"username": REGISTRY_USER, "password": REGISTRY_PASSWORD, "serveraddress": REGISTRY}
        header = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
        pushed = self.api("POST", f"/images/{name}/push?tag={tag}", raw=True, X_Registry_Auth=header)
        assert b"error" not in pushed, pushed.decode()

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, AssertionError):
                if ready():
                    return
            log = (self.directory / "dockerd.log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, f"{what} does not answer:\n{log}"
            time.sleep(0.05)
