"""`/v1/dispatch-gateway`: the only routes a container may call, with its execution's own token (see `auth.py`).

The token proves the execution; the message must name the same one. Everything may be repeated: the inner loop knows
what it has taken already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from aegis.api.auth import Access, authorise_dispatch, bearer
from aegis.api.context import context_of
from aegis.api.problems import InvalidRequest
from aegis.api.routing import Route, integer_query, read_model
from aegis.api.wire import (
    DISPATCH_BYTES_MAX,
    DISPATCH_MESSAGE,
    DispatchOutputMessage,
    DispatchResultMessage,
    GenerateMessage,
)
from aegis.errors import Unauthorized

EXECUTION_HEADER = "X-Aegis-Execution"
UNPROVED_BYTES_MAX = 1024 * 1024


async def dispatch_task(request: web.Request) -> web.Response:
    """What bootstrap is to do: the prompt travels here, never in argv or the environment."""
    context = context_of(request)
    execution_id = request.query.get("execution_id", "")
    if not execution_id:
        raise InvalidRequest("Query parameter execution_id is missing")
    execution = await authorise_dispatch(request, context.store, execution_id)
    iteration = integer_query(request, "iteration", 1, low=1, high=20)
    return _answer(await context.inner_loop.task(execution, iteration))


async def dispatch_message(request: web.Request) -> web.Response:
    """A result can be large, and memory is spent only for those who have proved who they are: with the execution named
    in `X-Aegis-Execution` the token is checked before the body is read; without, only a small body is read at all."""
    context = context_of(request)
    named = request.headers.get(EXECUTION_HEADER, "")
    if named:
        await authorise_dispatch(request, context.store, named)
    elif not bearer(request):
        raise Unauthorized("This needs the execution's own dispatch token", next_step="It is in AEGIS_DISPATCH_TOKEN")
    bytes_max = DISPATCH_BYTES_MAX if named else UNPROVED_BYTES_MAX
    message = await read_model(request, DISPATCH_MESSAGE, bytes_max)
    if named and named != message.execution_id:
        raise InvalidRequest(f"{EXECUTION_HEADER} and the message's execution_id name different executions")
    execution = await authorise_dispatch(request, context.store, message.execution_id)
    payload = message.model_dump()
    if isinstance(message, DispatchResultMessage):
        return _answer(await context.inner_loop.dispatch_result(execution.id, payload))
    if isinstance(message, DispatchOutputMessage):
        return _answer(await context.inner_loop.dispatch_output(execution.id, payload))
    return _answer(await context.inner_loop.generate(execution.id, payload))


def _answer(reply: Mapping[str, Any]) -> web.Response:
    return web.Response(body=json.dumps(reply).encode("ascii"), content_type="application/json")


ROUTES = (
    Route(
        method="GET",
        path="/v1/dispatch-gateway/task",
        handler=dispatch_task,
        access=Access.DISPATCH,
        summary="An iteration's task, for bootstrap",
        query=("execution_id", "iteration"),
    ),
    Route(
        method="POST",
        path="/v1/dispatch-gateway",
        handler=dispatch_message,
        access=Access.DISPATCH,
        summary="Ask for the next step, or report a command's result",
        request=GenerateMessage,
    ),
)
