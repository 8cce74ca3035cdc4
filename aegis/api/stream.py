"""`/v1/executions/{id}/stream`: an execution's events as they happen, as server-sent events (WHATWG HTML, section 9.2).

Each event's `id:` is its sequence, so a client that reconnects with `Last-Event-ID` misses and repeats nothing. The
stream ends after the execution's final event. A client that comes back after that gets 204, which tells an
EventSource to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from aegis.api.auth import Access
from aegis.api.context import context_of
from aegis.api.executions import find_execution
from aegis.api.problems import InvalidRequest
from aegis.api.routing import Route, integer_query
from aegis.api.views import EventView
from aegis.domain.events import Event
from aegis.domain.execution import FINAL_STATES

SEQUENCE_MAX = 2**63 - 1
RETRY_MILLISECONDS = 2000
HEARTBEAT = b": still here\n\n"

CLOSING: web.AppKey[asyncio.Event] = web.AppKey("closing", asyncio.Event)
"""Set when the server stops: an open stream would otherwise hold it until its patience ends."""


async def stream_events(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    execution = await find_execution(context, request.match_info["execution"])
    after = _resume_after(request)
    if execution.state in FINAL_STATES and not await context.store.list_events(execution.id, after=after, limit=1):
        return web.Response(status=204)
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(f"retry: {RETRY_MILLISECONDS}\n\n".encode())
    events = context.events.follow(execution.id, after=after)
    try:
        await _forward(events, response, context.heartbeat_seconds, request.app[CLOSING])
        await response.write_eof()
    except ConnectionError:
        pass  # the client went away, which is how most streams end, many right after the final event
    return response


def _resume_after(request: web.Request) -> int:
    """`Last-Event-ID` wins over `?after=`: an EventSource keeps its first URL when it reconnects."""
    last = request.headers.get("Last-Event-ID")
    if last is None:
        return integer_query(request, "after", 0, low=0, high=SEQUENCE_MAX)
    if not (last.isascii() and last.isdigit() and len(last) < 20 and int(last) <= SEQUENCE_MAX):
        raise InvalidRequest(f"Last-Event-ID is {last!r:.40}, wanted the sequence of an event")
    return int(last)


async def _forward(
    events: AsyncIterator[Event], response: web.StreamResponse, heartbeat_seconds: float, closing: asyncio.Event
) -> None:
    """Waiting for the next event must outlive a heartbeat: cancelling `__anext__` would end the iterator. So the wait
    is a task, and this function alone owns it."""
    waiting: asyncio.Future[Event] | None = None
    stopping = asyncio.ensure_future(closing.wait())
    try:
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(_next(events))
            either: set[asyncio.Future[Any]] = {waiting, stopping}
            done, _ = await asyncio.wait(either, timeout=heartbeat_seconds, return_when=asyncio.FIRST_COMPLETED)
            if stopping in done and waiting not in done:
                return  # without the final event: the client comes back, and goes on where it was
            if not done:
                await response.write(HEARTBEAT)
                continue
            try:
                event = waiting.result()
            except _End:
                return
            finally:
                waiting = None
            await response.write(encode(event))
    finally:
        stopping.cancel()
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, _End):
                await waiting
        close = getattr(events, "aclose", None)  # a generator frees its queue here, not at the next collection
        if close is not None:
            await close()


class _End(Exception):
    """StopAsyncIteration cannot pass through a future."""


async def _next(events: AsyncIterator[Event]) -> Event:
    try:
        return await anext(events)
    except StopAsyncIteration:
        raise _End from None


def encode(event: Event) -> bytes:
    """One event. JSON escapes line ends, so `data:` is always one line."""
    return f"id: {event.sequence}\nevent: {event.kind}\ndata: {EventView.of(event).model_dump_json()}\n\n".encode()


def install(app: web.Application) -> None:
    app[CLOSING] = asyncio.Event()
    app.on_shutdown.append(_close_streams)


async def _close_streams(app: web.Application) -> None:
    app[CLOSING].set()


ROUTES = (
    Route(
        method="GET",
        path="/v1/executions/{execution}/stream",
        handler=stream_events,
        access=Access.API,
        summary="What happens, live (server-sent events); resumes by Last-Event-ID, ends after the final event",
        response=EventView,
        response_type="text/event-stream",
        query=("after",),
    ),
)
