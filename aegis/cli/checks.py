"""The doctor's checks: each looks at one thing of this host and says what it found and what repairs it.

They use nothing but the standard library and change nothing. A check never raises: what it cannot find out is a
warning.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from aegis.cli.client import Client, state_directories
from aegis.cli.failures import CommandFailed

DOCKER_SECONDS = 5.0
OLDEST_API = (1, 41)  # Docker Engine 20.10; the reference deployment says 24.0
DOCKER_INSTALL = "https://docs.docker.com/engine/install"


class Level(Enum):
    GOOD = "ok"
    WARN = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    level: Level
    found: str
    repair: str = ""

    def as_json(self) -> dict[str, str]:
        return {"check": self.name, "level": self.level.value, "found": self.found, "repair": self.repair}


def run_checks(client: Client) -> list[Finding]:
    findings = [check_user(), check_python(), check_state_directory(state_directories()[0])]
    findings += check_docker(docker_socket())
    findings.append(check_nfs_client())
    findings += [check_reachable(Path("/proc/net")), *check_daemon_or_ports(client)]
    return findings


def check_user() -> Finding:
    if os.geteuid() == 0:
        found = "you are root, and the daemon refuses to run as root"
        return Finding("user", Level.WARN, found, "Use a user in the group docker")
    return Finding("user", Level.GOOD, f"uid {os.geteuid()}")


def check_python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", Level.GOOD, f"{found} at {sys.executable}")


def check_state_directory(directory: Path) -> Finding:
    """Writable, or its nearest existing parent is."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        repair = f"sudo install -d -m 0700 -o {os.geteuid()} {directory}"
        return Finding("state directory", Level.BAD, f"{directory} cannot be written", repair)
    free = os.statvfs(place)
    free_bytes = free.f_bavail * free.f_frsize
    level = Level.GOOD if free_bytes > 2**30 else Level.WARN
    repair = "" if level is Level.GOOD else "Make room, or set node.state_directory elsewhere"
    return Finding("state directory", level, f"{directory}, {free_bytes // 2**20} MiB free", repair)


# ---- Docker ----


def docker_socket() -> str:
    host = os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else "/var/run/docker.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DOCKER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DOCKER_SECONDS)
        self.sock.connect(self._path)


def ask_docker(path: str, route: str) -> dict[str, Any]:
    """OSError or ValueError when there is no answer to use."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", route)
        answer = json.loads(connection.getresponse().read(16 * 2**20))
    except http.client.HTTPException as error:
        raise ValueError(str(error)) from error
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise ValueError("no JSON object")
    return answer


def check_docker(path: str) -> list[Finding]:
    try:
        version, info = ask_docker(path, "/version"), ask_docker(path, "/info")
    except PermissionError:
        repair = "sudo usermod -aG docker $USER, then log in again"
        return [Finding("docker socket", Level.BAD, f"{path} may not be used by you", repair)]
    except FileNotFoundError:
        repair = "sudo apt-get install docker.io && sudo systemctl enable --now docker"
        return [Finding("docker socket", Level.BAD, f"there is no {path}", repair)]
    except (OSError, ValueError) as error:
        return [Finding("docker socket", Level.BAD, f"{path}: {error}", "sudo systemctl restart docker")]
    return [docker_version(path, version), *docker_options(info)]


def docker_version(path: str, version: dict[str, Any]) -> Finding:
    """From the engine's `/version`."""
    api = str(version.get("ApiVersion", "0"))
    text = f"Docker Engine {version.get('Version', '?')} (API {api}) at {path}"
    if tuple(int(part) for part in api.split(".") if part.isdigit()) < OLDEST_API:
        return Finding("docker socket", Level.BAD, text, f"Install Docker Engine 24 or newer: {DOCKER_INSTALL}")
    return Finding("docker socket", Level.GOOD, text)


def docker_options(info: dict[str, Any]) -> list[Finding]:
    """What of the engine's `/info` matters here."""
    options = " ".join(str(option) for option in info.get("SecurityOptions") or [])
    if "name=rootless" in options:
        repair = "Use the rootful engine: sudo systemctl enable --now docker; docker context use default"
        found = "rootless: the kernel refuses NFS mounts in a user namespace"
        findings = [Finding("docker mode", Level.BAD, found, repair)]
    else:
        findings = [Finding("docker mode", Level.GOOD, "rootful")]
    if "name=userns" in options:
        found = "on: a container's uid 1000 is another uid for the gateway, which squashes it anyway"
        findings.append(Finding("userns-remap", Level.WARN, found, "Nothing, unless containers report EACCES"))
    if "local" not in ((info.get("Plugins") or {}).get("Volume") or []):
        found = "the engine has no `local` volume driver"
        findings.append(Finding("volume driver", Level.BAD, found, f"Reinstall the engine: {DOCKER_INSTALL}"))
    return findings


# ---- the kernel ----


def check_nfs_client() -> Finding:
    """dockerd mounts with the host's kernel, so that is where the client has to be."""
    try:
        known = Path("/proc/filesystems").read_text().split()
    except OSError:
        known = []
    if "nfs" in known:
        return Finding("nfs client", Level.GOOD, "in the kernel")
    try:
        dry_run = subprocess.run(["modprobe", "-n", "nfsv3"], capture_output=True, timeout=10, check=False)
        loadable = dry_run.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        loadable = False
    if loadable:
        return Finding("nfs client", Level.GOOD, "a module the kernel loads by itself")
    release = os.uname().release
    repair = f"sudo modprobe nfsv3 (Ubuntu: sudo apt-get install linux-modules-extra-{release})"
    return Finding("nfs client", Level.BAD, f"kernel {release} has none: volumes cannot be mounted", repair)


# ---- ports ----


def check_daemon_or_ports(client: Client) -> list[Finding]:
    """A running daemon has its ports, and says itself how it is; without one they must be free."""
    try:
        status, body = client.status_of("/health/ready")
    except CommandFailed:
        return [check_port("nfs port", 2049), check_port("api port", 8080)]
    daemon = Finding("daemon", Level.GOOD, f"ready at {client.url}")
    if status != 200:
        daemon = Finding("daemon", Level.BAD, f"answers at {client.url} and is not ready", "aegis daemon status")
    return [daemon, *optional_parts(body)]


def optional_parts(body: bytes) -> list[Finding]:
    """What the daemon is ready without (tool servers), from the lines of its `/health/ready`."""
    findings = []
    for line in body.splitlines():
        try:
            view = json.loads(line)
        except ValueError:  # it is no daemon of ours that answers
            continue
        if isinstance(view, dict) and view.get("optional"):
            level = Level.GOOD if view.get("ok") else Level.WARN
            found = "answers" if view.get("ok") else str(view.get("detail") or view.get("code"))
            findings.append(Finding(str(view.get("dependency")), level, found, str(view.get("next_step", ""))))
    return findings


_LISTENS = "0A"  # TCP_LISTEN, as in the column `st` of /proc/net/tcp
_EVERYWHERE = frozenset({"0" * 8, "0" * 32})
_OURS = (2049,)  # refuses everybody but the host
_SHOWN_MAX = 10


def check_reachable(directory: Path) -> Finding:
    """An internal network does not keep containers from the host itself: what of it listens on every address."""
    name = "host services"
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (directory / table).read_text("ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue
        for local, state in ((fields[1], fields[3]) for line in lines if len(fields := line.split()) > 3):
            address, _, port = local.partition(":")
            if state == _LISTENS and address in _EVERYWHERE and int(port, 16) not in _OURS:
                ports.add(int(port, 16))
    if not ports:
        return Finding(name, Level.GOOD, "nothing but the daemon's own listens on every address")
    listed = ", ".join(map(str, sorted(ports)[:_SHOWN_MAX])) + (" and others" if len(ports) > _SHOWN_MAX else "")
    found = f"on every address listen the ports {listed}: agents' containers reach them at their network's gateway"
    repair = (
        "If they should not: sudo iptables -I INPUT -s 10.97.0.0/20 -j REJECT; sudo iptables -I INPUT -s 10.97.0.0/20 "
        "-p tcp -m multiport --dports 8080,3128 -j ACCEPT"
    )
    return Finding(name, Level.WARN, found, repair)


def check_port(name: str, port: int) -> Finding:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))  # noqa: S104 - only to see whether it could be had
            listener.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Finding(name, Level.WARN, f"port {port}: {error.strerror}")
            repair = f"Find who has it: sudo ss -ltnp 'sport = :{port}'"
            if port == 2049:
                repair += " (a kernel NFS server: sudo systemctl stop nfs-server)"
            return Finding(name, Level.BAD, f"port {port} is taken", repair)
    return Finding(name, Level.GOOD, f"port {port} is free")
