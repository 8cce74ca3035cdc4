"""The lab's hand inside a guest: runs commands, mounts, and sets what a machine loaded from a saved state has wrong.

Started as root in the guest (or natively, in namespaces of its own) with a port to listen on. Standard library only:
in a User Mode Linux guest the Python is the host's, in the Docker guest a bare one. It trusts whoever can connect;
that is the lab's private network and nobody else.

One TCP connection is one request. First a line of JSON with `do`, then frames: a letter, a length of four bytes, that
much data. From here `o` and `e` are output, `x` is the end, JSON. To here `i` is input (empty: end of input), `s` a
signal for the process group, as a decimal number. A connection that ends early kills the process group: a test that
died leaves no work behind in the guest.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

FRAME = struct.Struct(">cI")
CHUNK_BYTES = 64 * 1024
HEADER_BYTES_MAX = 1 << 20
INPUT_BYTES_MAX = 1 << 20
MNT_FORCE, MNT_DETACH = 1, 2
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207

Request = dict[str, Any]
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(request: Request) -> None:
    """mount(2) exactly as dockerd calls it: no mount.nfs in between that would add or translate options."""
    os.makedirs(request["target"], exist_ok=True)
    words = [request[key].encode() for key in ("source", "target", "type", "data")]
    source, target, kind, data = words
    _check(_libc.mount(source, target, kind, ctypes.c_ulong(request["flags"]), data), f"mount {request['source']}")


def umount(request: Request) -> None:
    flags = MNT_FORCE | MNT_DETACH if request["force"] else 0
    _check(_libc.umount2(request["target"].encode(), flags), f"umount {request['target']}")


def drop_caches(request: Request) -> None:
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3")


def wake(request: Request) -> None:
    """A guest loaded from a saved state believes it is the day it was saved and repeats its random numbers."""
    time.clock_settime(time.CLOCK_REALTIME, request["now"])
    seed = bytes.fromhex(request["entropy"])
    with open("/dev/urandom", "wb", buffering=0) as pool:
        fcntl.ioctl(pool, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(pool, RNDRESEEDCRNG)


def ping(request: Request) -> None:
    """Answer."""


ACTIONS: dict[str, Callable[[Request], None]] = {
    "mount": mount, "umount": umount, "drop_caches": drop_caches, "wake": wake, "ping": ping,
}  # fmt: skip


class Connection:
    """One request and its frames."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.buffer = b""

    def serve(self) -> None:
        try:
            request = json.loads(self.read_line())
            self.send(b"x", json.dumps(self.act(request)).encode())
        except (ConnectionError, EOFError):
            pass  # the other side went away; its process group is already dead
        finally:
            self.peer.close()

    def act(self, request: Request) -> dict[str, Any]:
        try:
            if request["do"] == "run":
                command = Command(self, request)
            else:
                ACTIONS[request["do"]](request)
                return {}
        except OSError as error:  # ECONNREFUSED too, which here is the mount's and not this connection's
            return {"errno": error.errno or errno.EIO, "error": error.strerror or str(error)}
        return {"returncode": command.run()}

    def read_line(self) -> bytes:
        while b"\n" not in self.buffer:
            if len(self.buffer) > HEADER_BYTES_MAX:
                raise EOFError
            self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def fill(self) -> None:
        data = self.peer.recv(CHUNK_BYTES)
        if not data:
            raise EOFError
        self.buffer += data

    def frame(self) -> tuple[bytes, bytes] | None:
        """A whole frame if one has arrived."""
        if len(self.buffer) < FRAME.size:
            return None
        kind, length = FRAME.unpack_from(self.buffer)
        end = FRAME.size + length
        if len(self.buffer) < end:
            return None
        data, self.buffer = self.buffer[FRAME.size : end], self.buffer[end:]
        return kind, data

    def send(self, kind: bytes, data: bytes) -> None:
        self.peer.sendall(FRAME.pack(kind, len(data)) + data)


class Command:
    """A command with its own process group, bound to the life of its connection."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self.connection = connection
        self.pending = b""  # input that the command has not taken yet
        self.input_ended = False
        self.process = subprocess.Popen(
            request["argv"], cwd=request["cwd"], env=request["env"], start_new_session=True, umask=request["umask"],
            user=request["uid"], group=request["gid"], extra_groups=request["groups"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin = self.process.stdin
        os.set_blocking(self.stdin.fileno(), False)
        self.outputs = 2
        self.selector = selectors.DefaultSelector()
        self.selector.register(connection.peer, selectors.EVENT_READ, self.receive)
        self.selector.register(self.process.stdout, selectors.EVENT_READ, self.forward_stdout)
        self.selector.register(self.process.stderr, selectors.EVENT_READ, self.forward_stderr)

    def run(self) -> int:
        """Move bytes until both outputs have ended: what a daemonised child keeps open counts too, as in a pipeline."""
        try:
            self.take_frames()  # input may have come in one packet with the header
            while self.outputs:
                for key, _events in self.selector.select():
                    key.data()
            return self.process.wait()
        finally:
            self.signal_group(signal.SIGKILL)
            self.process.wait()
            self.selector.close()
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                stream.close()  # type: ignore[union-attr]

    def receive(self) -> None:
        self.connection.fill()
        self.take_frames()

    def forward_stdout(self) -> None:
        self.forward(self.process.stdout, b"o")

    def forward_stderr(self) -> None:
        self.forward(self.process.stderr, b"e")

    def forward(self, stream: IO[bytes] | None, kind: bytes) -> None:
        assert stream is not None
        data = os.read(stream.fileno(), CHUNK_BYTES)
        if data:
            self.connection.send(kind, data)
        else:
            self.selector.unregister(stream)
            self.outputs -= 1

    def take_frames(self) -> None:
        while (frame := self.connection.frame()) is not None:
            kind, data = frame
            if kind == b"s":
                self.signal_group(signal.Signals(int(data)))
            elif kind == b"i" and data:
                self.pending += data
            elif kind == b"i":
                self.input_ended = True
        self.watch_input()

    def feed(self) -> None:
        try:
            self.pending = self.pending[os.write(self.stdin.fileno(), self.pending[:CHUNK_BYTES]) :]
        except BrokenPipeError:
            self.pending = b""  # it does not want to read; that is its business
            self.input_ended = True
        self.watch_input()

    def watch_input(self) -> None:
        """Wait for room in the command's input while there is something to put there; close it after the last byte."""
        if self.stdin.closed:
            return
        watched = self.stdin in self.selector.get_map()
        if self.pending and not watched:
            self.selector.register(self.stdin, selectors.EVENT_WRITE, self.feed)
        elif not self.pending and watched:
            self.selector.unregister(self.stdin)
        if not self.pending and self.input_ended:
            self.stdin.close()
        self.hold_back(len(self.pending) > INPUT_BYTES_MAX)

    def hold_back(self, full: bool) -> None:
        """Stop reading from the other side while the command is behind with its input."""
        reading = self.connection.peer in self.selector.get_map()
        if full and reading:
            self.selector.unregister(self.connection.peer)
        elif not full and not reading:
            self.selector.register(self.connection.peer, selectors.EVENT_READ, self.receive)

    def signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    server = socket.create_server((host, port), backlog=64)
    print("lab agent: ready", flush=True)
    while True:
        peer, _address = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(peer).serve, name="request", daemon=True).start()


if __name__ == "__main__":
    main()
