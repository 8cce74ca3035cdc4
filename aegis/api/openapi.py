"""`/openapi.json` (OpenAPI 3.1), made from the route table and the wire models: nothing in it is written by hand."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from aegis.api.auth import Access
from aegis.api.routing import Route
from aegis.api.views import ProblemView

DESCRIPTION: web.AppKey[bytes] = web.AppKey("openapi", bytes)
PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.OPEN: [],
    Access.API: [{"apiToken": []}],
    Access.NODE: [{"apiToken": []}],
    Access.DISPATCH: [{"dispatchToken": []}],
    Access.SMCP: [{"smcpToken": []}],
}


def describe(routes: tuple[Route, ...], version: str) -> dict[str, Any]:
    models = {model for route in routes for model in (route.request, route.response) if model is not None}
    models.add(ProblemView)
    ordered = sorted(models, key=lambda model: model.__name__)
    references, definitions = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for route in routes:
        path = PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, references)
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "aegis", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "apiToken": bearer,
                "dispatchToken": {**bearer, "description": "one execution's own"},
                "smcpToken": {**bearer, "description": "one iteration's own, see docs/smcp.md"},
            },
        },
    }


def _operation(route: Route, references: dict[Any, Any]) -> dict[str, Any]:
    def content(model: type[BaseModel] | None, media_type: str) -> dict[str, Any]:
        schema = references[(model, "serialization")] if model is not None else {}
        return {media_type: {"schema": schema}}

    answer: dict[str, Any] = {"description": route.summary}
    if route.status != 204:
        answer["content"] = content(route.response, route.response_type)
    problem = {"description": "A problem", "content": content(ProblemView, "application/problem+json")}
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "security": SECURITY[route.access],
        "parameters": _parameters(route),
        "responses": {str(route.status): answer, "default": problem},
    }
    if route.method in ("POST", "PUT") and (route.request or route.request_type != "application/json"):
        operation["requestBody"] = {"required": True, "content": content(route.request, route.request_type)}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string"}
    in_path = [{"name": name, "in": "path", "required": True, "schema": text} for name in PARAMETER.findall(route.path)]
    return in_path + [{"name": name, "in": "query", "required": False, "schema": text} for name in route.query]


async def show_openapi(request: web.Request) -> web.Response:
    return web.Response(body=request.app[DESCRIPTION], content_type="application/json")


def install(app: web.Application, routes: tuple[Route, ...], version: str) -> None:
    app[DESCRIPTION] = json.dumps(describe(routes, version)).encode("ascii")


ROUTES = (
    Route(
        method="GET",
        path="/openapi.json",
        handler=show_openapi,
        access=Access.OPEN,
        summary="This API's description",
    ),
)
