"""Becomes the server, and dies with the daemon: `python -I launch.py DAEMON_PID COMMAND ARGUMENT...`

A server should end when its standard input does. One that does not would outlive a daemon that was killed; the kernel
kills it then (prctl(2), PR_SET_PDEATHSIG, which survives exec). A program of its own rather than a function between
fork and exec, where a process with threads may do almost nothing. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    daemon, argv = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != daemon:  # it died before the line above
        return 1
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is the point
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
    return 127


if __name__ == "__main__":
    sys.exit(main())
