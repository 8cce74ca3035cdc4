"""`/v1/executions`: start, list, show, cancel, and what happened (`/events`; live in `stream.py`)."""

from __future__ import annotations

from aiohttp import web

from aegis.api.auth import Access
from aegis.api.context import Context, context_of
from aegis.api.problems import InvalidRequest
from aegis.api.routing import Route, integer_query, json_response, read_model
from aegis.api.views import EventView, ExecutionView, Page, RecordView
from aegis.api.wire import REQUEST_BYTES_MAX, ExecutionRequest
from aegis.domain.execution import Execution, ExecutionState
from aegis.errors import NotFound

EVENTS_MAX = 1000


async def find_execution(context: Context, execution_id: str) -> Execution:
    """NotFound for another tenant's as well: whether it exists is nobody's business."""
    execution = await context.store.get_execution(execution_id)
    if execution.tenant_id != context.tenant_id:
        raise NotFound(f"There is no execution {execution_id}")
    return execution


async def start_execution(request: web.Request) -> web.Response:
    context = context_of(request)
    wanted = await read_model(request, ExecutionRequest, REQUEST_BYTES_MAX)
    agent = await context.store.get_agent(context.tenant_id, wanted.agent)
    execution = await context.supervisor.start(agent, wanted.input, context.tenant_id)
    location = {"Location": f"/v1/executions/{execution.id}"}
    response = json_response(ExecutionView.of(execution), status=201)
    response.headers.update(location)
    return response


async def list_executions(request: web.Request) -> web.Response:
    context = context_of(request)
    limit = integer_query(request, "limit", 100, low=1, high=1000)
    executions = await context.store.list_executions(context.tenant_id, states=_states(request), limit=limit)
    return json_response(Page[ExecutionView](items=[ExecutionView.of(execution) for execution in executions]))


def _states(request: web.Request) -> list[ExecutionState]:
    names = [name for text in request.query.getall("state", []) for name in text.split(",") if name]
    try:
        return [ExecutionState(name) for name in names]
    except ValueError as error:
        known = ", ".join(ExecutionState)
        raise InvalidRequest(f"Query parameter state: {error}", next_step=f"Known states: {known}") from None


async def show_execution(request: web.Request) -> web.Response:
    context = context_of(request)
    execution = await find_execution(context, request.match_info["execution"])
    iterations = await context.store.list_iterations(execution.id)
    usage = await context.store.list_usage(execution.id)
    return json_response(ExecutionView.of(execution, iterations, usage))


async def show_record(request: web.Request) -> web.Response:
    """Beside the events, which are asked for by themselves."""
    context = context_of(request)
    execution = await find_execution(context, request.match_info["execution"])
    iterations = await context.store.list_iterations(execution.id)
    loops = {each.number: await context.store.load_inner_loop(execution.id, each.number) for each in iterations}
    record = RecordView(
        version=context.version,
        execution=ExecutionView.of(execution, iterations),
        manifest=execution.manifest,
        conversations={number: dict(state) for number, state in loops.items() if state is not None},
    )
    return json_response(record)


async def cancel_execution(request: web.Request) -> web.Response:
    context = context_of(request)
    execution = await find_execution(context, request.match_info["execution"])
    return json_response(ExecutionView.of(await context.supervisor.cancel(execution.id)), status=202)


async def list_events(request: web.Request) -> web.Response:
    """In order, from the first after `after`; an empty list is the end for now."""
    context = context_of(request)
    execution = await find_execution(context, request.match_info["execution"])
    after = integer_query(request, "after", 0, low=0, high=2**63 - 1)
    limit = integer_query(request, "limit", EVENTS_MAX, low=1, high=EVENTS_MAX)
    events = await context.store.list_events(execution.id, after=after, limit=limit)
    return json_response(Page[EventView](items=[EventView.of(event) for event in events]))


ROUTES = (
    Route(
        method="POST",
        path="/v1/executions",
        handler=start_execution,
        access=Access.API,
        summary="Run an agent",
        status=201,
        request=ExecutionRequest,
        response=ExecutionView,
    ),
    Route(
        method="GET",
        path="/v1/executions",
        handler=list_executions,
        access=Access.API,
        summary="Executions, newest first",
        response=Page[ExecutionView],
        query=("state", "limit"),
    ),
    Route(
        method="GET",
        path="/v1/executions/{execution}",
        handler=show_execution,
        access=Access.API,
        summary="One execution with its iterations",
        response=ExecutionView,
    ),
    Route(
        method="GET",
        path="/v1/executions/{execution}/record",
        handler=show_record,
        access=Access.API,
        summary="What it takes, with the events, to replay an execution",
        response=RecordView,
    ),
    Route(
        method="POST",
        path="/v1/executions/{execution}/cancel",
        handler=cancel_execution,
        access=Access.API,
        summary="Cancel; its container is removed",
        status=202,
        response=ExecutionView,
    ),
    Route(
        method="GET",
        path="/v1/executions/{execution}/events",
        handler=list_events,
        access=Access.API,
        summary="What happened, in order",
        response=Page[EventView],
        query=("after", "limit"),
    ),
)
