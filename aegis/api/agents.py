"""`/v1/agents`: deployed manifests. Deploying a name again makes a new agent; older ones stay with their executions."""

from __future__ import annotations

from aiohttp import web

from aegis.api.auth import Access
from aegis.api.context import context_of
from aegis.api.problems import InvalidRequest
from aegis.api.routing import Route, integer_query, json_response, read_body
from aegis.api.views import AgentView, Page
from aegis.api.wire import MANIFEST_BYTES_MAX
from aegis.domain.execution import Agent
from aegis.ids import new_id


async def deploy_agent(request: web.Request) -> web.Response:
    """The manifest's text as it is, YAML or JSON; all its faults at once. `?source=` names it in the messages."""
    context = context_of(request)
    body = await read_body(request, MANIFEST_BYTES_MAX)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The manifest is not UTF-8: byte {error.start} cannot be read") from None
    manifest = context.load_manifest(text, request.query.get("source", "manifest")[:200]).manifest
    agent = Agent(id=new_id(), tenant_id=context.tenant_id, manifest=manifest, created_at=context.clock.now())
    await context.store.add_agent(agent)
    return json_response(AgentView.of(agent), status=201)


async def list_agents(request: web.Request) -> web.Response:
    context = context_of(request)
    limit = integer_query(request, "limit", 100, low=1, high=1000)
    agents = await context.store.list_agents(context.tenant_id, limit=limit)
    return json_response(Page[AgentView](items=[AgentView.of(agent) for agent in agents]))


async def show_agent(request: web.Request) -> web.Response:
    context = context_of(request)
    agent = await context.store.get_agent(context.tenant_id, request.match_info["agent"])
    return json_response(AgentView.of(agent))


async def remove_agent(request: web.Request) -> web.Response:
    context = context_of(request)
    agent = await context.store.get_agent(context.tenant_id, request.match_info["agent"])
    await context.store.remove_agent(context.tenant_id, agent.name)
    return web.Response(status=204)


ROUTES = (
    Route(
        method="POST",
        path="/v1/agents",
        handler=deploy_agent,
        access=Access.API,
        summary="Deploy a manifest",
        status=201,
        request_type="application/yaml",
        response=AgentView,
        query=("source",),
    ),
    Route(
        method="GET",
        path="/v1/agents",
        handler=list_agents,
        access=Access.API,
        summary="The deployed agents, newest first",
        response=Page[AgentView],
        query=("limit",),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent}",
        handler=show_agent,
        access=Access.API,
        summary="One agent, by name or id, with its manifest",
        response=AgentView,
    ),
    Route(
        method="DELETE",
        path="/v1/agents/{agent}",
        handler=remove_agent,
        access=Access.API,
        summary="Remove an agent; its executions stay",
        status=204,
    ),
)
