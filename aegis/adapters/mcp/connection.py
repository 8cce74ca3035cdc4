"""One connection to a server: from its start and greeting to its end. The SDK's session over our own process.

The rules to know: a session belongs to the task that opened it; calls may come from any. A server that ends, writes
what is no message, or talks without being asked ends its connection (`ended`, `why`), and calls under way learn it.
Results are not checked against the server's own output schemas: its patterns would run in the daemon.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import ClientSession, McpError, types
from mcp.shared.message import SessionMessage

from aegis.adapters.mcp.process import ServerProcess
from aegis.adapters.mcp.settings import ServerSettings
from aegis.errors import ToolServerFailed
from aegis.version import VERSION

STRAY_LINES_MAX: Final = 100  # lines that are no messages, in all
UNASKED_MAX: Final = 10_000  # messages between two answers
WAITING_MAX: Final = 100  # messages on their way to a server that does not read
TOOLS_MAX: Final = 500
PAGES_MAX: Final = 50  # of its list
SCHEMA_CHARACTERS_MAX: Final = 65_536
DESCRIPTION_CHARACTERS_MAX: Final = 4_000
NAME_CHARACTERS_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool as its server tells it."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Connection:
    settings: ServerSettings
    process: ServerProcess
    session: ClientSession
    outgoing: MemoryObjectSendStream[SessionMessage]
    ended: asyncio.Event
    changed: asyncio.Event  # its list of tools is another
    calls: int = 0  # under way
    why: str = ""  # it ended
    left_out: list[str] = field(default_factory=list)  # tools that cannot be offered

    async def tools(self) -> list[Listed]:
        """All it has and we want; `left_out` names those beyond our bounds. ToolServerFailed."""
        self.changed.clear()
        found: list[Listed] = []
        self.left_out = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = await self._request(
                types.ListToolsRequest(params=types.PaginatedRequestParams(cursor=cursor)), types.ListToolsResult
            )
            for tool in page.tools:
                self._take(tool, found)
            cursor = page.nextCursor
            if cursor is None:
                break
        return found

    def _take(self, tool: types.Tool, found: list[Listed]) -> None:
        if not self.settings.wants(tool.name):
            return
        fits = len(json.dumps(tool.inputSchema)) <= SCHEMA_CHARACTERS_MAX and len(found) < TOOLS_MAX
        if not fits or not tool.name.isprintable() or not 0 < len(tool.name) <= NAME_CHARACTERS_MAX:
            self.left_out.append(tool.name[:NAME_CHARACTERS_MAX])
            return
        description = (tool.description or tool.title or "")[:DESCRIPTION_CHARACTERS_MAX]
        found.append(Listed(tool.name, description, tool.inputSchema))

    async def call(self, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """McpError: the server's own refusal. ToolServerFailed: it ended, or was silent for too long."""
        params = types.CallToolRequestParams(name=name, arguments=dict(arguments))
        self.calls += 1
        try:
            result: types.CallToolResult = await self._request(
                types.CallToolRequest(params=params), types.CallToolResult
            )
            return result
        finally:
            self.calls -= 1

    async def ping(self) -> None:
        await self._request(types.PingRequest(), types.EmptyResult)

    async def _request(self, request: Any, result: type[Any]) -> Any:
        """One request; the server is told when nobody waits for its answer any more. Who calls bounds the time."""
        number = self.session._request_id  # the next one's: nothing public says it, and the version is pinned
        try:
            return await self.session.send_request(types.ClientRequest(request), result)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise self.failure() from error
        except McpError as error:
            if error.error.code == types.CONNECTION_CLOSED:
                raise self.failure() from error
            raise
        except asyncio.CancelledError:
            self._forget(number)
            raise

    def _forget(self, number: int) -> None:
        params = types.CancelledNotificationParams(requestId=number, reason="nobody waits for it any more")
        notification = types.CancelledNotification(params=params)
        wire = notification.model_dump(by_alias=True, mode="json", exclude_none=True)
        message = types.JSONRPCMessage(types.JSONRPCNotification(jsonrpc="2.0", **wire))
        try:
            self.outgoing.send_nowait(SessionMessage(message))
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            return  # it does not read, or is gone

    def failure(self) -> ToolServerFailed:
        return ToolServerFailed(f"Tool server {self.settings.name} {self.why or 'has ended'}")


@asynccontextmanager
async def connected(settings: ServerSettings) -> AsyncIterator[Connection]:
    """The server runs and has greeted inside the block; nothing of it runs after. ToolServerFailed."""
    try:
        async with _opened(settings) as connection:
            await _greet(connection)
            yield connection
    except BaseExceptionGroup as group:  # of the session's task group, which wraps whatever passes through it
        if len(group.exceptions) != 1:
            raise
        raise group.exceptions[0] from None


@asynccontextmanager
async def _opened(settings: ServerSettings) -> AsyncIterator[Connection]:
    process = await ServerProcess.start(settings)
    incoming_in, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, outgoing_out = anyio.create_memory_object_stream[SessionMessage](WAITING_MAX)
    changed = asyncio.Event()

    async def noted(message: Any) -> None:
        if isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ToolListChangedNotification
        ):
            changed.set()

    info = types.Implementation(name="aegis", version=VERSION)
    session = ClientSession(incoming, outgoing, message_handler=noted, client_info=info)
    connection = Connection(settings, process, session, outgoing, asyncio.Event(), changed)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(process.stop)
        for stream in (incoming_in, incoming, outgoing, outgoing_out):
            stack.callback(stream.close)
        for work, what in (
            (_incoming(connection, incoming_in), "reader"),
            (_outgoing(process, outgoing_out), "writer"),
        ):
            task = asyncio.create_task(work, name=f"{what} of tool server {settings.name}")
            stack.push_async_callback(_ended, task)
        await stack.enter_async_context(session)
        yield connection


async def _greet(connection: Connection) -> None:
    name, clean = connection.settings.name, connection.settings.clean
    try:
        await connection.session.initialize()
    except McpError as error:
        if error.error.code == types.CONNECTION_CLOSED:
            raise connection.failure() from error
        raise ToolServerFailed(f"Tool server {name} refuses to begin: {clean(error.error.message)[:300]}") from error
    except (RuntimeError, ValueError) as error:  # of the SDK: a version it does not know, a greeting that is none
        raise ToolServerFailed(
            f"Tool server {name} greets with what cannot be used: {clean(str(error))[:300]}"
        ) from error


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _incoming(connection: Connection, incoming: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    stray = unasked = 0
    process = connection.process
    try:
        async with incoming:
            while (line := await process.read_line()) is not None:
                try:
                    message = types.JSONRPCMessage.model_validate_json(line)
                except ValueError:
                    stray += bool(line.strip())
                    if stray > STRAY_LINES_MAX:
                        raise ToolServerFailed(f"wrote {stray} lines to its output that are no messages") from None
                    continue
                answers = isinstance(message.root, types.JSONRPCResponse | types.JSONRPCError)
                unasked = 0 if answers else unasked + 1
                if unasked > UNASKED_MAX:
                    raise ToolServerFailed(f"sent {unasked} messages that nobody asked for")
                await incoming.send(SessionMessage(message))
            connection.why = f"has ended ({await process.ended()})"
    except ToolServerFailed as error:
        connection.why = str(error).removeprefix(f"Tool server {connection.settings.name} ")
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        connection.why = connection.why or "was stopped"
    finally:
        connection.ended.set()


async def _outgoing(process: ServerProcess, outgoing: MemoryObjectReceiveStream[SessionMessage]) -> None:
    async for message in outgoing:
        text = message.message.model_dump_json(by_alias=True, exclude_none=True)
        await process.write(text.encode() + b"\n")
