from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from aegis.adapters.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A datagram socket as systemd's, and its NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@aegis-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.setblocking(False)
        yield listener, name


def test_what_is_told_arrives_as_the_manual_says(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("listening on\n127.0.0.1")
    notifier.extend_timeout(1.5)
    notifier.stopping()
    assert [listener.recv(1000) for _ in range(3)] == [
        b"READY=1\nSTATUS=listening on 127.0.0.1",
        b"EXTEND_TIMEOUT_USEC=1500000",
        b"STOPPING=1",
    ]


async def test_the_watchdog_beats_from_the_loop_until_it_is_cancelled(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())})
    task = asyncio.create_task(notifier.run_watchdog())
    loop = asyncio.get_running_loop()
    assert [await loop.sock_recv(listener, 100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}]
)
async def test_a_watchdog_that_is_not_meant_for_us_is_none(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    assert notifier.watchdog_seconds is None
    await notifier.run_watchdog()


def test_without_systemd_nothing_happens_and_a_lost_socket_is_only_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier({}).ready()
    assert caplog.records == []
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
