"""`/metrics` in the Prometheus text format: the API's own counters beside whatever the daemon registers.

Labels are route patterns, never paths: an id in a label would make a new time series for every request.
"""

from __future__ import annotations

import time

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from aegis.api.auth import Access
from aegis.api.problems import Handler
from aegis.api.routing import Route

REGISTRY: web.AppKey[CollectorRegistry] = web.AppKey("registry", CollectorRegistry)
REQUESTS: web.AppKey[Counter] = web.AppKey("requests", Counter)
SECONDS: web.AppKey[Histogram] = web.AppKey("seconds", Histogram)
STREAMING = "/v1/executions/{execution}/stream"  # lasts as long as an execution: no latency of ours


def install(app: web.Application, registry: CollectorRegistry) -> None:
    app[REGISTRY] = registry
    app[REQUESTS] = Counter("aegis_api_requests", "Requests answered", ("method", "route", "status"), registry=registry)
    app[SECONDS] = Histogram(
        "aegis_api_request_seconds", "From the request's head to the answer", ("route",), registry=registry
    )


@web.middleware
async def count_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outside of `problem_middleware`, so it sees the statuses errors were turned into."""
    started = time.monotonic()
    response = await handler(request)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "(none)"
    request.app[REQUESTS].labels(request.method if resource else "-", route, str(response.status)).inc()
    if route != STREAMING:
        request.app[SECONDS].labels(route).observe(time.monotonic() - started)
    return response


async def show_metrics(request: web.Request) -> web.Response:
    body = generate_latest(request.app[REGISTRY])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = (
    Route(
        method="GET",
        path="/metrics",
        handler=show_metrics,
        access=Access.NODE,
        summary="Prometheus metrics",
        response_type="text/plain",
    ),
)
