"""One server over its whole life: started with the daemon, listened to, begun anew when it ends or is silent.

The rules to know: what it offers is remembered, so that its tools do not come and go with it; a call while it is away
says why. Nothing here raises for what a server does: a call's failure is text for the model, a server's is `trouble`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcp import McpError

from aegis.adapters.mcp.connection import Connection, Listed, connected
from aegis.adapters.mcp.content import text_of
from aegis.adapters.mcp.settings import ServerSettings
from aegis.errors import ToolServerFailed
from aegis.ports import ToolAnswer

log = logging.getLogger(__name__)

CALLS_MAX: Final = 16  # at once; more wait within their own time
ERROR_CHARACTERS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Patience:
    """`ping_seconds`: between two questions whether it is there. Pauses before a new start double up to
    `pause_max_seconds`, and are short again after a life of `steady_seconds`."""

    start_seconds: float = 60.0  # `npx` may have to fetch it first
    ping_seconds: float = 30.0
    answer_seconds: float = 10.0  # to a ping, and for its list
    pause_seconds: float = 1.0
    pause_max_seconds: float = 60.0
    steady_seconds: float = 60.0

    def pause(self, failures: int) -> float:
        longest: float = min(self.pause_seconds * 2.0 ** min(failures - 1, 16), self.pause_max_seconds)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret


class ToolServer:
    """`run` is its task; the rest may be called at any time."""

    def __init__(self, settings: ServerSettings, patience: Patience) -> None:
        self.settings = settings
        self._patience = patience
        self._connection: Connection | None = None
        self._doubted = asyncio.Event()  # a call was not answered: is it there?
        self._slots = asyncio.Semaphore(CALLS_MAX)
        self.tools: Sequence[Listed] = ()
        self.trouble: ToolServerFailed | None = ToolServerFailed(f"Tool server {settings.name} is starting")
        self.starts = 0
        self.pid: int | None = None  # of the process that runs now

    async def run(self) -> None:
        failures, told = 0, ""
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except ToolServerFailed as error:
                self.trouble = error
            except Exception:  # we are wrong: this server begins anew, the others and the daemon go on
                log.exception("tool server %s", self.settings.name)
                self.trouble = ToolServerFailed(f"The daemon's side of tool server {self.settings.name} failed")
            if time.monotonic() - began > self._patience.steady_seconds:
                failures = 0
            failures += 1
            pause = self._patience.pause(failures)
            level = logging.WARNING if str(self.trouble) != told else logging.DEBUG  # a lasting fault is told once
            log.log(level, "%s; it is started again in %.1f s", self.trouble, pause)
            told = str(self.trouble)
            await asyncio.sleep(pause)

    async def check(self) -> None:
        """Raises what is wrong with it now."""
        if self.trouble is not None:
            raise self.trouble

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        """Within the server's `timeout_seconds`, whatever it does."""
        connection, seconds = self._connection, self.settings.timeout_seconds
        if connection is None:
            return ToolAnswer(f"{self.trouble or self._gone()}; it is started again, try later", failed=True)
        try:
            async with asyncio.timeout(seconds), self._slots:
                result = await connection.call(tool, arguments)
        except TimeoutError:
            self._doubted.set()
            why = (
                f"tool server {self.settings.name} has not answered within {seconds:g} s; whether it did it is unknown"
            )
            return ToolAnswer(why, failed=True)
        except McpError as error:
            said = self.settings.clean(error.error.message)[:ERROR_CHARACTERS_MAX]
            return ToolAnswer(f"tool server {self.settings.name} refuses: {said}", failed=True)
        except ToolServerFailed as error:
            return ToolAnswer(f"{error} in the middle of this call; whether it did it is unknown", failed=True)
        except ValueError as error:  # pydantic's: an answer that is no result of a call
            said = self.settings.clean(str(error))[:ERROR_CHARACTERS_MAX]
            return ToolAnswer(f"tool server {self.settings.name} answered what cannot be used: {said}", failed=True)
        return ToolAnswer(self.settings.clean(text_of(result)), failed=bool(result.isError))

    def _gone(self) -> ToolServerFailed:
        return ToolServerFailed(f"Tool server {self.settings.name} does not run")

    # ---- one life ----

    async def _live(self) -> None:
        """From its start to its end, which is a ToolServerFailed."""
        name = self.settings.name
        self.starts += 1
        deadline = asyncio.timeout(self._patience.start_seconds)
        try:
            async with deadline, connected(self.settings) as connection:
                await self._take(connection)
                deadline.reschedule(None)
                self._connection, self.pid, self.trouble = connection, connection.process.pid, None
                log.info("tool server %s offers %d tools (pid %d)", name, len(self.tools), self.pid)
                try:
                    await self._watch(connection)
                finally:
                    self._connection = self.pid = None
        except TimeoutError:
            raise ToolServerFailed(
                f"Tool server {name} has not begun to answer within {self._patience.start_seconds:g} s",
                next_step=f"Does mcp_servers.{name}.command speak MCP on its standard output?",
            ) from None

    async def _take(self, connection: Connection) -> None:
        try:
            self.tools = await connection.tools()
        except (McpError, ValueError) as error:
            raise ToolServerFailed(
                f"Tool server {self.settings.name} lists no tools: {self.settings.clean(str(error))[:300]}"
            ) from error
        if connection.left_out:
            left_out = ", ".join(connection.left_out[:20])
            log.warning("tool server %s: too large or too many, not offered: %s", self.settings.name, left_out)

    async def _watch(self, connection: Connection) -> None:
        while True:
            waited = [connection.ended, connection.changed, self._doubted]
            tasks = [asyncio.create_task(each.wait(), name=f"watch of {self.settings.name}") for each in waited]
            try:
                await asyncio.wait(tasks, timeout=self._patience.ping_seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if connection.ended.is_set():
                raise connection.failure()
            doubted = self._doubted.is_set()
            self._doubted.clear()
            await self._asked(connection, doubted)

    async def _asked(self, connection: Connection, doubted: bool) -> None:
        """Whether it is there, and what it offers now. Not while it works, unless there is doubt: many do one thing at
        a time."""
        try:
            async with asyncio.timeout(self._patience.answer_seconds):
                if connection.changed.is_set():
                    await self._take(connection)
                elif doubted or connection.calls == 0:
                    await connection.ping()
        except TimeoutError:
            raise ToolServerFailed(
                f"Tool server {self.settings.name} does not answer within {self._patience.answer_seconds:g} s"
            ) from None
        except McpError:
            return  # it answers; it only does not know the question
