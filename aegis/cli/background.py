"""A daemon in the background without a service manager: start it, find it again, stop it.

What is remembered is the process id and its start time: an id alone may belong to somebody else by now.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from aegis.cli.client import Client
from aegis.cli.failures import CommandFailed, Exit

START_SECONDS = 60.0
STOP_SECONDS = 90.0
POLL_SECONDS = 0.1
LOG_LINES_SHOWN = 15
RECORD_NAME = "daemon.json"
LOG_NAME = "daemon.log"


def start_time(pid: int) -> str | None:
    """proc(5), stat field 22: clock ticks after boot. None when there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def recorded(directory: Path) -> int | None:
    """The running daemon that `start` left here."""
    try:
        record = json.loads((directory / RECORD_NAME).read_text())
        pid, started = int(record["pid"]), str(record["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if start_time(pid) == started else None


def start(directory: Path, arguments: list[str], client: Client) -> int:
    """Returns the process id when the daemon answers; CommandFailed with the end of its log when it does not."""
    if (pid := recorded(directory)) is not None:
        raise CommandFailed(
            f"A daemon is running already (process {pid})", exit_code=Exit.REFUSED, next_step="aegis daemon status"
        )
    if _is_live(client):
        raise CommandFailed(
            f"Something answers at {client.url} already", exit_code=Exit.REFUSED, next_step="aegis daemon status"
        )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_path = directory / LOG_NAME
    with open(log_path, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aegis", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    record = {"pid": process.pid, "started": start_time(process.pid)}
    (directory / RECORD_NAME).write_text(json.dumps(record))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            (directory / RECORD_NAME).unlink(missing_ok=True)
            raise CommandFailed(
                f"The daemon ended with {process.returncode}:\n{_tail(log_path)}", next_step=f"See {log_path}"
            )
        if _is_live(client):
            return process.pid
        time.sleep(POLL_SECONDS)
    raise CommandFailed(
        f"The daemon (process {process.pid}) does not answer at {client.url} after {START_SECONDS:.0f} s",
        next_step=f"See {log_path}, or stop it with `aegis daemon stop`",
    )


def _is_live(client: Client) -> bool:
    try:
        return client.status_of("/health/live")[0] == 200
    except CommandFailed:
        return False


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


def stop(directory: Path) -> int:
    """Ask it to end and wait until it has; returns its process id."""
    pid = recorded(directory)
    if pid is None:
        raise CommandFailed(
            f"No daemon started by `aegis daemon start` is running (none recorded in {directory})",
            exit_code=Exit.NOT_FOUND,
            next_step="A service is stopped with `sudo systemctl stop aegis`",
        )
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(STOP_SECONDS * 1000):
            raise CommandFailed(
                f"The daemon (process {pid}) has not ended after {STOP_SECONDS:.0f} s",
                next_step=f"See {directory / LOG_NAME}",
            )
    finally:
        os.close(descriptor)
    (directory / RECORD_NAME).unlink(missing_ok=True)
    return pid
