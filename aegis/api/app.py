"""The two applications the daemon serves, made from the same route table.

- `create_app`: everything. For loopback, and for addresses an operator chooses.
- `create_dispatch_app`: the routes of dispatch and of SMCP, and liveness, nothing else. For the bridge address that
  containers reach: what is not there cannot be called from a container, with or without a token. And where an operator
  does put the whole API on an address containers reach, it still needs an API token there, which no container has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry

from aegis.api import agents, dispatch, executions, health, metrics, openapi, problems, smcp, stream, volumes
from aegis.api import bundles as bundles_api
from aegis.api.auth import ApiTokens
from aegis.api.context import CONTEXT, Bundles, Context, Dispatches, ManifestLoader, Supervisor, ToolCalls, Volumes
from aegis.api.routing import Route, register
from aegis.ids import DEFAULT_TENANT
from aegis.ports import Clock, EventSink, Gateway, HealthCheck, Store

ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *agents.ROUTES,
    *executions.ROUTES,
    *stream.ROUTES,
    *volumes.ROUTES,
    *bundles_api.ROUTES,
    *dispatch.ROUTES,
    *smcp.ROUTES,
    *metrics.ROUTES,
    *openapi.ROUTES,
)
DISPATCH_ROUTES: tuple[Route, ...] = (health.LIVE, *dispatch.ROUTES, *smcp.ROUTES)


def create_app(
    *,
    store: Store,
    events: EventSink,
    clock: Clock,
    supervisor: Supervisor,
    inner_loop: Dispatches,
    tool_calls: ToolCalls,
    volumes: Volumes,
    bundles: Bundles,
    gateway: Gateway,
    load_manifest: ManifestLoader,
    health_checks: Mapping[str, HealthCheck],
    api_tokens: Collection[str],
    tenant_tokens: Mapping[str, Collection[str]] | None = None,
    version: str,
    tenant_id: str = DEFAULT_TENANT,
    registry: CollectorRegistry | None = None,
    optional_checks: Mapping[str, HealthCheck] | None = None,
    heartbeat_seconds: float = 15.0,
) -> web.Application:
    """The whole API. `api_tokens` must not be empty (ValueError): see `auth.ensure_token_file`."""
    context = Context(
        store=store,
        events=events,
        clock=clock,
        supervisor=supervisor,
        inner_loop=inner_loop,
        tool_calls=tool_calls,
        volumes=volumes,
        bundles=bundles,
        gateway=gateway,
        load_manifest=load_manifest,
        health_checks=health_checks,
        optional_checks=optional_checks or {},
        version=version,
        tenant_id=tenant_id,
        heartbeat_seconds=heartbeat_seconds,
    )
    return _application(context, ROUTES, ApiTokens(api_tokens, tenant_tokens), registry or CollectorRegistry())


def create_dispatch_app(whole: web.Application) -> web.Application:
    """The part of `whole` that containers need, over the same services and counters."""
    app = web.Application(middlewares=[metrics.count_middleware, problems.problem_middleware])
    app[CONTEXT] = whole[CONTEXT]
    app[metrics.REQUESTS], app[metrics.SECONDS] = whole[metrics.REQUESTS], whole[metrics.SECONDS]
    register(app, DISPATCH_ROUTES, None)
    return app


def _application(
    context: Context, routes: tuple[Route, ...], tokens: ApiTokens, registry: CollectorRegistry
) -> web.Application:
    app = web.Application(middlewares=[metrics.count_middleware, problems.problem_middleware])
    app[CONTEXT] = context
    app[health.HEALTH] = health.Health(context.health_checks, tokens, context.optional_checks)
    app[bundles_api.BUNDLES] = asyncio.Semaphore(bundles_api.BUNDLES_AT_ONCE_MAX)
    app[volumes.TRANSFERS] = asyncio.Semaphore(volumes.FILES_AT_ONCE)
    metrics.install(app, registry)
    openapi.install(app, routes, context.version)
    stream.install(app)
    register(app, routes, tokens)
    return app
