"""A server's process: started with little, read a bounded line at a time, and gone with all it started.

Not the SDK's own transport: that keeps a line without an end in memory for ever, and logs each line that is no message
with its content.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

from aegis.adapters.mcp.settings import ServerSettings
from aegis.errors import ToolServerFailed

log = logging.getLogger(__name__)

LINE_BYTES_MAX: Final = 4 * 1024 * 1024  # one message
STDERR_LINE_CHARACTERS_MAX: Final = 1_000
STDERR_LINES_MAX: Final = 200  # logged of one process; what follows is read and thrown away
STOP_SECONDS: Final = 2.0  # after its input's end, and once more after SIGTERM
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME")
LAUNCH: Final = str(Path(__file__).with_name("launch.py"))


class ServerProcess:
    def __init__(self, settings: ServerSettings, process: Process) -> None:
        self._settings = settings
        self._process = process
        self._errors = asyncio.create_task(self._read_errors(), name=f"stderr of {settings.name}")
        self.last_words = ""  # of its standard error: why it ended, most likely

    @classmethod
    async def start(cls, settings: ServerSettings) -> ServerProcess:
        """ToolServerFailed when there is no such program or directory."""
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | dict(settings.environment)
        command = shutil.which(settings.command, path=environment.get("PATH"))
        if command is None:
            raise ToolServerFailed(
                f"Tool server {settings.name}: there is no program {settings.command}",
                next_step=f"Install it, or set mcp_servers.{settings.name}.command to its path",
            )
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", LAUNCH, str(os.getpid()), command, *settings.args),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=environment,
                cwd=settings.directory,
                start_new_session=True,  # a process group of its own: stopped as one
                limit=LINE_BYTES_MAX,
            )
        except OSError as error:
            raise ToolServerFailed(
                f"Tool server {settings.name} cannot be started: {error.strerror}: {error.filename}",
                next_step=f"Check mcp_servers.{settings.name}",
            ) from error
        return cls(settings, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def read_line(self) -> bytes | None:
        """The next line; None at the end. ToolServerFailed for one longer than `LINE_BYTES_MAX`."""
        assert self._process.stdout is not None
        try:
            return await self._process.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None  # what stands after the last newline is no message
        except asyncio.LimitOverrunError:
            raise ToolServerFailed(
                f"Tool server {self._settings.name} wrote a line longer than {LINE_BYTES_MAX} bytes"
            ) from None

    async def write(self, data: bytes) -> None:
        """Waits while the server does not read. Nothing is said when it is gone: its output has ended, too."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except ConnectionError:
            return

    async def stop(self) -> None:
        """As the protocol wants it: the end of its input, then SIGTERM, then SIGKILL, to all of its group."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                self._signal(number)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
                break
            except TimeoutError:
                continue
        self._signal(signal.SIGKILL)  # what it started and left
        self._errors.cancel()
        await asyncio.gather(self._errors, return_exceptions=True)

    async def ended(self) -> str:
        """How it ended, in words. For when its output has; one that only closed that is killed."""
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            return "it closed its output"
        await asyncio.wait({self._errors}, timeout=STOP_SECONDS)
        code = self._process.returncode or 0
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return f"{how}; its last words: {self.last_words}" if self.last_words else how

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    async def _read_errors(self) -> None:
        """Its standard error, into the log: bounded, and without its secrets."""
        assert self._process.stderr is not None
        count, rest = 0, b""
        while chunk := await self._process.stderr.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-STDERR_LINE_CHARACTERS_MAX:]
            for line in lines:
                count += 1
                self._tell(line, count)
        if rest:
            self._tell(rest, count + 1)

    def _tell(self, line: bytes, count: int) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:STDERR_LINE_CHARACTERS_MAX]
        if not text:
            return
        self.last_words = self._settings.clean(text)
        if count <= STDERR_LINES_MAX:
            log.info("tool server %s: %s", self._settings.name, self.last_words)
        elif count == STDERR_LINES_MAX + 1:
            log.info("tool server %s writes more to its standard error; it is not logged", self._settings.name)
