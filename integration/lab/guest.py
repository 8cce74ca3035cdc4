"""The test's side of the agent: run commands in a guest, mount there, and hold long-running programs there.

The same on a User Mode Linux guest, a QEMU guest and, natively, in namespaces of this machine.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from integration.lab.agent import CHUNK_BYTES, FRAME
from integration.lab.errors import LabError, tail
from integration.lab.network import Network
from integration.lab.process import CommandTimeout, Logged, Result

AGENT_PORT = 7777
CONTROL_SECONDS = 30.0
MOUNT_SECONDS = 60.0
CONNECT_SECONDS = 5.0
MS_RDONLY = 1

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
}


class GuestProcess(Logged):
    """A program running in a guest. Its output is written to `log` on this side; closing kills its process group."""

    def __init__(self, name: str, peer: socket.socket, log: Path) -> None:
        self.name = name
        self.log = log
        self._stream = _Stream(peer)
        self._answer: dict[str, Any] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._pump, name=f"lab {name}", daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """The return code, or None while it runs."""
        return self._code() if self._ended.is_set() else None

    def wait(self, timeout: float) -> int:
        """The return code; `CommandTimeout` after `timeout` seconds, and then it is still running."""
        if not self._ended.wait(timeout):
            raise CommandTimeout(f"{self.name} still runs in the guest after {timeout:.1f} s\n{tail(self.log)}")
        return self._code()

    def send_signal(self, number: signal.Signals) -> None:
        """Signal its whole process group."""
        if not self._ended.is_set():
            self._stream.send(b"s", str(int(number)).encode())

    def kill(self) -> int:
        """SIGKILL its whole process group, and wait until it is gone."""
        self.send_signal(signal.SIGKILL)
        return self.wait(CONTROL_SECONDS)

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, SIGKILL when that did not end it within `timeout`; the return code."""
        self.send_signal(signal.SIGTERM)
        if not self._ended.wait(timeout):
            self.send_signal(signal.SIGKILL)
        return self.wait(timeout)

    def close(self) -> None:
        """Kill it if it runs. Safe to repeat."""
        self._stream.close()
        self._thread.join(CONTROL_SECONDS)

    def _pump(self) -> None:
        with self.log.open("ab", buffering=0) as log:
            try:
                self._answer = self._stream.drain(lambda _kind, data: log.write(data), None)
            except (OSError, LabError) as error:
                log.write(f"\n(connection to the guest's agent ended: {error})\n".encode())
        self._ended.set()

    def _code(self) -> int:
        return int(self._answer.get("returncode", -signal.SIGKILL))


class Guest:
    """A machine with an agent. `console` is the log that explains a failure."""

    def __init__(self, network: Network, address: str, console: Path, port: int = AGENT_PORT) -> None:
        self.network = network
        self.address = address
        self.console = console
        self._port = port
        self._started = 0
        self._children: list[GuestProcess] = []

    def run(
        self, argv: Sequence[str], *, timeout: float, cwd: str = "/", uid: int | None = None, gid: int | None = None,
        groups: Sequence[int] = (), env: Mapping[str, str] | None = None, umask: int = 0o022, input: bytes = b"",
    ) -> Result:  # fmt: skip
        """Run a command in the guest to its end, as root or as any uid, gid and groups.

        After `timeout` seconds its process group is killed there and `CommandTimeout` raised. A command that cannot be
        started (no such program, no such directory) raises the guest's `OSError`.
        """
        started = time.monotonic()
        output: dict[bytes, list[bytes]] = {b"o": [], b"e": []}
        stream = self._request(_command(argv, cwd, uid, gid, groups, env, umask))
        try:
            stream.feed(input)
            answer = stream.drain(lambda kind, data: output[kind].append(data), started + timeout)
        except TimeoutError:
            said = b"".join(output[b"o"] + output[b"e"])[-2000:].decode("utf-8", "replace")
            raise CommandTimeout(
                f"{' '.join(argv)!r} still ran in the guest after {timeout:.1f} s: {said}\n{tail(self.console)}"
            ) from None
        except (ConnectionError, EOFError) as error:
            raise LabError(f"the guest went away under {' '.join(argv)!r}: {error}\n{tail(self.console)}") from error
        finally:
            stream.close()
        _raise_errno(answer)
        seconds = time.monotonic() - started
        return Result(tuple(argv), answer["returncode"], b"".join(output[b"o"]), b"".join(output[b"e"]), seconds)

    def popen(
        self, argv: Sequence[str], *, cwd: str = "/", uid: int | None = None, gid: int | None = None,
        groups: Sequence[int] = (), env: Mapping[str, str] | None = None, umask: int = 0o022, name: str | None = None,
    ) -> GuestProcess:  # fmt: skip
        """Start a program in the guest and leave it running; its output goes to a log on this side."""
        self._started += 1
        name = name or f"{Path(argv[0]).name}-{self.address.rpartition('.')[2]}-{self._started}"
        stream = self._request(_command(argv, cwd, uid, gid, groups, env, umask))
        process = GuestProcess(name, stream.detach(), self.network.directory / f"{name}.log")
        self._children.append(process)
        return process

    def mount(
        self, target: str, *, export: str, options: str, server: str = "", read_only: bool = False,
        timeout: float = MOUNT_SECONDS,
    ) -> None:  # fmt: skip
        """Mount an NFS export as dockerd does: mount(2) with source `:/export` and `options` as they are.

        `server` is only put before the colon (what /proc/mounts shows); the kernel goes to `addr=` of the options. A
        refusal is the kernel's `OSError`.
        """
        flags = MS_RDONLY if read_only else 0
        self._mount(f"{server}:{export}", target, "nfs", options, flags, timeout)

    def umount(self, target: str, force: bool = False, timeout: float = MOUNT_SECONDS) -> None:
        """Unmount; `force` also takes away a mount whose server is gone."""
        self._do({"do": "umount", "target": target, "force": force}, timeout)

    def drop_caches(self) -> None:
        """Write everything out and forget every cached page, name and inode: the next access asks the server."""
        self._do({"do": "drop_caches"}, MOUNT_SECONDS)

    def wake(self) -> None:
        """Set the clock, and stir fresh entropy in: for a guest loaded from a saved state."""
        self._do({"do": "wake", "now": time.time(), "entropy": os.urandom(64).hex()}, CONTROL_SECONDS)

    def ping(self, timeout: float = CONTROL_SECONDS) -> None:
        """Return when the agent answers."""
        self._do({"do": "ping"}, timeout)

    def close_processes(self) -> None:
        """Kill what `popen` started."""
        while self._children:
            self._children.pop().close()

    def _mount(self, source: str, target: str, kind: str, data: str, flags: int, timeout: float) -> None:
        request = {"do": "mount", "source": source, "target": target, "type": kind, "data": data, "flags": flags}
        self._do(request, timeout)

    def _do(self, request: dict[str, Any], timeout: float) -> None:
        stream = self._request(request)
        try:
            answer = stream.drain(lambda _kind, _data: None, time.monotonic() + timeout)
        except (OSError, EOFError) as error:
            raise LabError(f"{request['do']} got no answer from the guest: {error}\n{tail(self.console)}") from error
        finally:
            stream.close()
        _raise_errno(answer)

    def _request(self, request: dict[str, Any]) -> _Stream:
        try:
            peer = self.network.connect(self.address, self._port, CONNECT_SECONDS)
        except OSError as error:
            raise LabError(f"the guest at {self.address} does not answer: {error}\n{tail(self.console)}") from error
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(json.dumps(request).encode() + b"\n")
        return _Stream(peer)


class _Stream:
    """Frames over one connection to an agent."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._buffer = b""

    def send(self, kind: bytes, data: bytes) -> None:
        self._peer.sendall(FRAME.pack(kind, len(data)) + data)

    def feed(self, input: bytes) -> None:
        """Send the command's input; a large one from a thread: the command may answer before it has read all."""
        if len(input) <= CHUNK_BYTES:
            self._feed(input)
        else:
            threading.Thread(target=self._feed, args=(input,), name="lab input", daemon=True).start()

    def _feed(self, input: bytes) -> None:
        try:
            for start in range(0, len(input), CHUNK_BYTES):
                self.send(b"i", input[start : start + CHUNK_BYTES])
            self.send(b"i", b"")
        except OSError:
            pass  # the command ended without reading it all, or the guest died: the reader tells which

    def drain(self, take: Callable[[bytes, bytes], object], deadline: float | None) -> dict[str, Any]:
        """Give every output frame to `take`; returns the content of the last frame. `TimeoutError` at the deadline."""
        while True:
            kind, data = self._frame(deadline)
            if kind == b"x":
                answer: dict[str, Any] = json.loads(data)
                return answer
            take(kind, data)

    def detach(self) -> socket.socket:
        return self._peer

    def close(self) -> None:
        try:
            self._peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._peer.close()

    def _frame(self, deadline: float | None) -> tuple[bytes, bytes]:
        kind, length = FRAME.unpack(self._exactly(FRAME.size, deadline))
        return kind, self._exactly(length, deadline)

    def _exactly(self, size: int, deadline: float | None) -> bytes:
        while len(self._buffer) < size:
            if deadline is None:
                self._peer.settimeout(None)
            else:
                self._peer.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._peer.recv(CHUNK_BYTES)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "end of stream")
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def _command(
    argv: Sequence[str], cwd: str, uid: int | None, gid: int | None, groups: Sequence[int],
    env: Mapping[str, str] | None, umask: int,
) -> dict[str, Any]:  # fmt: skip
    group = gid if gid is not None or uid is None else uid
    environment = {**_ENVIRONMENT, **(env or {})}
    return {
        "do": "run", "argv": list(argv), "cwd": cwd, "uid": uid, "gid": group, "groups": list(groups),
        "env": environment, "umask": umask,
    }  # fmt: skip


def _raise_errno(answer: dict[str, Any]) -> None:
    if "error" in answer:
        raise OSError(answer["errno"], answer["error"])
