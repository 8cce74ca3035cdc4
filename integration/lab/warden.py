"""The process that every other process of one lab network lives under: PID 1 of a PID and network namespace of its own.

It is started (by `network.Network`) under `unshare --fork --pid --net --mount`, imports the standard library only,
and is told what to do over the inherited socket whose number is its argument. Two properties of the kernel do the
cleaning up: when the test process dies, however, the socket ends and the warden leaves; when PID 1 of a PID namespace
leaves, the kernel kills everything in it, and the namespaces with their bridge, taps and mounts go with the last of
them.

Protocol: one SOCK_SEQPACKET message for a request and one for its answer, JSON, descriptors beside it (SCM_RIGHTS).

    {"do": "spawn", "argv", "env", "cwd", "user", "groups"} + [stdin, stdout, stderr]  ->  {} + [pidfd, status]
    {"do": "connect", "host", "port", "timeout"}                                       ->  {} + [socket]
    {"do": "listen", "host", "port"}                                                   ->  {} + [socket]
    anything that fails                                                                ->  {"errno", "error"}

`status` is a pipe from which four bytes, the return code as `subprocess` counts it, can be read once the process ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from typing import Any

REQUEST_BYTES_MAX = 160 * 1024
REQUEST_FDS_MAX = 3
STATUS = struct.Struct("=i")

_status_pipes: dict[int, int] = {}
_children: dict[int, subprocess.Popen[bytes]] = {}  # kept so that Popen's own reaping never takes a status from us


def spawn(request: dict[str, Any], fds: list[int]) -> list[int]:
    stdin, stdout, stderr = fds
    user = request["user"]
    child = subprocess.Popen(
        request["argv"], env=request["env"], cwd=request["cwd"], stdin=stdin, stdout=stdout, stderr=stderr,
        user=user and user[0], group=user and user[1], extra_groups=None if user is None else request["groups"],
        start_new_session=True, umask=0o022,
    )  # fmt: skip
    readable, writable = os.pipe()
    _children[child.pid] = child
    _status_pipes[child.pid] = writable
    return [os.pidfd_open(child.pid), readable]


def connect(request: dict[str, Any], fds: list[int]) -> list[int]:
    return [socket.create_connection((request["host"], request["port"]), request["timeout"]).detach()]


def listen(request: dict[str, Any], fds: list[int]) -> list[int]:
    return [socket.create_server((request["host"], request["port"]), backlog=128).detach()]


ACTIONS = {"spawn": spawn, "connect": connect, "listen": listen}


def answer(control: socket.socket) -> bool:
    """Serve one request; False when the other side is gone."""
    message, fds, _flags, _address = socket.recv_fds(control, REQUEST_BYTES_MAX, REQUEST_FDS_MAX)
    if not message:
        return False
    reply: dict[str, Any] = {}
    passed: list[int] = []
    try:
        request = json.loads(message)
        passed = ACTIONS[request["do"]](request, fds)
    except OSError as error:
        reply = {"errno": error.errno or 0, "error": error.strerror or str(error)}
    except (subprocess.SubprocessError, ValueError) as error:  # ValueError: a NUL byte in argv
        reply = {"errno": 0, "error": str(error)}
    socket.send_fds(control, [json.dumps(reply).encode()], passed)
    for fd in fds + passed:
        os.close(fd)
    return True


def reap() -> None:
    """Collect every dead child, orphans of others included, and report the ones that were asked for."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        child = _children.pop(pid, None)
        if child is None:
            continue
        child.returncode = os.waitstatus_to_exitcode(status)
        pipe = _status_pipes.pop(pid)
        try:
            os.write(pipe, STATUS.pack(child.returncode))
        except BrokenPipeError:
            pass  # nobody waits for this one any more
        os.close(pipe)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    socket.send_fds(control, [b"{}"], [])
    while True:
        ready, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
        reap()
        if control.fileno() in ready and not answer(control):
            return


if __name__ == "__main__":
    main()
