"""The project's own POSIX suite: small claims about a file system, run where a program's system calls are real.

    python3 -m integration.posix run --directory /mnt/workspace          # one line of JSON a claim
    python3 -m integration.posix list

Standard library only, and nothing but this package: the suite is copied into a guest, or anywhere, and run by the
Python that is there. A claim is a function whose name says what a file system does; it runs in a process and in a fresh
directory of its own, and fails by raising. What our mounts do otherwise than a local disk, and why, is in
`differences.py`; who runs it where is `integration/test_posix.py`.
"""
