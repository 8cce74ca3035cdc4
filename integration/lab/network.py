"""A network of one's own: the host side of the lab, with a bridge, and taps for the guests.

    172.17.255.254   the bridge; what the host side calls itself when it speaks to guests
    172.17.0.1       the gateway address of Docker's default bridge; here, or inside an all-in-one guest
    172.17.0.3       the engine, when there is one
    172.17.0.4 ...   kernel clients, one tap each
    172.31.0.0/16    the containers of the engine in the guest, routed, not translated

Everything lives in network, mount and PID namespaces that end with the process that made them (see `warden`). Two
networks never meet, so all of them use the same addresses and ports. Without root the namespaces hang in a user
namespace, where "an ordinary user" is the caller mapped to the number asked for.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from integration.lab import warden
from integration.lab.errors import LabError, tail
from integration.lab.process import CommandTimeout, Process, Result

HOST = "172.17.255.254"
GATEWAY = "172.17.0.1"
ENGINE_NUMBER = 3  # the saved Docker guest has this address for life
FIRST_CLIENT = 4
GUESTS_MAX = 200
CONTAINERS = "172.31.0.0/16"
_Stream = IO[bytes] | socket.socket
CONNECT_SECONDS = 0.5
CONNECT_POLL_SECONDS = 0.02
READY_SECONDS = 10.0

_PLAIN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class Tap:
    """A guest's socket in the wall: device name, the address and MAC the guest has to take."""

    name: str
    address: str
    mac: str


class Network:
    """The lab's network; `private=False` gives the same interface on the host's own network, for a native engine."""

    def __init__(self, directory: Path, private: bool = True) -> None:
        self.directory = directory
        self.private = private
        self.gateway = GATEWAY
        self._names = itertools.count(1)
        self._guests = itertools.count(FIRST_CLIENT)
        self._closers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._log = directory / "warden.log"
        self._control, self._unshare = self._start_warden()
        if private:
            self._lay_cables()

    # --- programs ---------------------------------------------------------------------------------------------------

    def popen(
        self, argv: Sequence[str], *, uid: int | None = None, gid: int | None = None, groups: Sequence[int] = (),
        env: Mapping[str, str] | None = None, cwd: str | Path = "/", name: str | None = None,
        stdio: socket.socket | None = None,
    ) -> Process:  # fmt: skip
        """Start a program in this network, output into `<name>.log` of the run directory.

        Without `uid` it runs as root of the lab. The environment is small and fixed; `env` is added to it. The program
        dies with the network. With `stdio` that socket is its standard input and output, and the log has the rest.
        """
        name = name or f"{Path(argv[0]).name}-{next(self._names)}"
        log = self.directory / f"{name}.log"
        with log.open("ab") as output, open(os.devnull, "rb") as nothing:
            streams = (stdio or nothing, stdio or output, output)
            return self._spawn(argv, name, log, streams, uid, gid, groups, env, cwd)

    def run(
        self, argv: Sequence[str], *, timeout: float, uid: int | None = None, gid: int | None = None,
        groups: Sequence[int] = (), env: Mapping[str, str] | None = None, cwd: str | Path = "/", input: bytes = b"",
    ) -> Result:  # fmt: skip
        """Run a program to its end; `CommandTimeout` (and it is killed) after `timeout` seconds."""
        started = time.monotonic()
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(input)
            given.seek(0)
            process = self._spawn(argv, argv[0], self._log, (given, out, err), uid, gid, groups, env, cwd)
            try:
                code = process.wait(timeout)
            except CommandTimeout:
                said = _read(err)[-2000:].decode("utf-8", "replace")
                raise CommandTimeout(f"{' '.join(argv)!r} still ran after {timeout:.1f} s: {said}") from None
            finally:
                process.close()
            return Result(tuple(argv), code, _read(out), _read(err), time.monotonic() - started)

    # --- sockets ----------------------------------------------------------------------------------------------------

    def connect(self, host: str, port: int, timeout: float = CONNECT_SECONDS) -> socket.socket:
        """A TCP connection made inside this network, usable here. `OSError` as from `socket.create_connection`."""
        _reply, fds = self._ask({"do": "connect", "host": host, "port": port, "timeout": timeout}, [])
        peer = socket.socket(fileno=fds[0])
        peer.setblocking(True)  # O_NONBLOCK came along with the descriptor
        return peer

    def listen(self, host: str, port: int) -> socket.socket:
        """A listening TCP socket inside this network, for a server that runs in the test process itself."""
        _reply, fds = self._ask({"do": "listen", "host": host, "port": port}, [])
        server = socket.socket(fileno=fds[0])
        server.setblocking(True)
        return server

    def wait_for_port(self, host: str, port: int, timeout: float, process: Process | None = None) -> None:
        """Return once a TCP connection succeeds; `LabError` at once when `process` ends, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.connect(host, port).close()
                return
            except OSError as error:
                log = tail(process.log) if process else ""
                if process is not None and process.poll() is not None:
                    raise LabError(f"{process.name} ended with {process.returncode}\n{log}") from error
                if time.monotonic() > deadline:
                    raise LabError(f"{host} port {port} does not answer in {timeout:.1f} s: {error}\n{log}") from error
            time.sleep(CONNECT_POLL_SECONDS)

    # --- guests -----------------------------------------------------------------------------------------------------

    def tap(self, number: int | None = None) -> Tap:
        """A new tap on the bridge for one more guest; `number` for one whose address is settled (172.17.0.number)."""
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise LabError("guests need /dev/net/tun: sudo modprobe tun; sudo chmod 0666 /dev/net/tun, or run as root")
        number = number or next(self._guests)
        if number >= GUESTS_MAX:
            raise LabError(f"one lab network has room for {GUESTS_MAX} guests")
        tap = Tap(f"tap{number}", f"172.17.0.{number}", f"02:ae:15:00:00:{number:02x}")
        self.ip(f"tuntap add dev {tap.name} mode tap", f"link set {tap.name} master lab0 up")
        return tap

    def untap(self, tap: Tap) -> None:
        """Take a tap away again, after its guest."""
        self.ip(f"link del {tap.name}")

    def veth(self) -> Tap:
        """Like `tap`, for a network namespace of this machine: the free end of a veth pair, not yet moved there."""
        tap = self.tap()
        end = f"veth{tap.name.removeprefix('tap')}"
        self.ip(
            f"link del {tap.name}",
            f"link add {tap.name} type veth peer name {end}",
            f"link set {tap.name} master lab0 up",
        )
        return Tap(end, tap.address, tap.mac)

    def ip(self, *commands: str) -> None:
        """Run `ip` commands in this network, as one batch."""
        script = "".join(command + "\n" for command in commands).encode()
        self.run(["ip", "-batch", "-"], input=script, timeout=30).check()

    def move_gateway_to_guest(self) -> None:
        """Give 172.17.0.1 away: from now on it is an address of the all-in-one guest, not of the host side."""
        self.ip(f"addr del {GATEWAY}/32 dev lab0")

    # --- life -------------------------------------------------------------------------------------------------------

    def on_close(self, closer: Callable[[], None]) -> None:
        """Have something closed before the network goes; last in, first out."""
        self._closers.append(closer)

    def close(self) -> None:
        """End every program, guest and device of this network. Safe to repeat."""
        while self._closers:
            self._closers.pop()()
        self._control.close()
        self._unshare.wait(timeout=READY_SECONDS)

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_warden(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        namespaces = ["--net"] if self.private else []
        if os.geteuid() != 0:
            namespaces += ["--user", "--map-root-user"]
        argv = ["unshare", *namespaces, "--fork", "--pid", "--mount-proc", "--kill-child", "--propagation", "private"]
        argv += [sys.executable, "-I", "-S", warden.__file__, str(theirs.fileno())]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C at the terminal is for pytest, whose end then ends this.
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()],
                start_new_session=True, cwd="/",
            )  # fmt: skip
        theirs.close()
        ours.settimeout(READY_SECONDS)
        try:
            ready = ours.recv(warden.REQUEST_BYTES_MAX)
        except TimeoutError:
            ready = b""
        if not ready:
            process.kill()
            raise LabError(f"cannot make the lab's namespaces with {argv[:-4]}\n{tail(self._log)}")
        return ours, process

    def _lay_cables(self) -> None:
        self.ip(
            "link set lo up",
            "link add lab0 type bridge",
            f"addr add {HOST}/16 dev lab0",
            f"addr add {GATEWAY}/32 dev lab0",
            "link set lab0 up",
        )

    def _spawn(
        self, argv: Sequence[str], name: str, log: Path, streams: tuple[_Stream, _Stream, _Stream],
        uid: int | None, gid: int | None, groups: Sequence[int], env: Mapping[str, str] | None, cwd: str | Path,
    ) -> Process:  # fmt: skip
        argv, user = list(argv), None
        if uid is not None:
            group = uid if gid is None else gid
            if os.geteuid() == 0:
                user = (uid, group)
            else:
                # One id is all that an unprivileged user namespace maps; a nested one gives it the number wanted.
                argv = ["unshare", "--user", f"--map-user={uid}", f"--map-group={group}", *argv]
        request = {
            "do": "spawn", "argv": argv, "env": {**_PLAIN_ENVIRONMENT, **(env or {})}, "cwd": str(cwd), "user": user,
            "groups": list(groups),
        }  # fmt: skip
        try:
            _reply, (pidfd, status) = self._ask(request, [stream.fileno() for stream in streams])
        except OSError as error:
            raise LabError(f"cannot start {argv}: {error}") from error
        return Process(name, pidfd, status, log)

    def _ask(self, request: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        message = json.dumps(request).encode()
        if len(message) > warden.REQUEST_BYTES_MAX:
            raise LabError(f"a command of {len(message)} bytes; the warden takes {warden.REQUEST_BYTES_MAX}")
        with self._lock:
            try:
                socket.send_fds(self._control, [message], fds)
                answer, passed, _flags, _address = socket.recv_fds(self._control, warden.REQUEST_BYTES_MAX, 2)
            except TimeoutError as error:
                raise LabError(f"the lab's warden did not answer\n{tail(self._log)}") from error
        if not answer:
            raise LabError(f"the lab's warden is gone\n{tail(self._log)}")
        reply = json.loads(answer)
        if "error" in reply:
            raise OSError(reply["errno"], reply["error"])
        return reply, list(passed)


def _read(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()
