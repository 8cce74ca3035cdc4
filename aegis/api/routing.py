"""One table row for each route: what it takes, what it answers, who may call it, and how much it reads.

The same rows register the handlers, guard them and make `/openapi.json`, so none of the three can drift from the
others.
Access is checked before a byte of the body is read; the body is counted while it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from aegis.api.auth import Access, ApiTokens
from aegis.api.context import TENANT
from aegis.api.problems import BodyTimeout, InvalidRequest, TooLarge, from_validation

BODY_SECONDS = 60.0  # for a whole body: a caller who sends a byte now and then holds a connection, nothing else

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`path` in aiohttp's notation. `request` and `response` are for the description; the handler does the parsing."""

    method: str
    path: str
    handler: Handler
    access: Access
    summary: str
    status: int = 200
    request: type[BaseModel] | None = None
    request_type: str = "application/json"
    response: Any = None  # a pydantic model or a generic of one
    response_type: str = "application/json"
    query: tuple[str, ...] = ()

    @property
    def operation_id(self) -> str:
        return getattr(self.handler, "__name__", self.path)


def register(app: web.Application, routes: tuple[Route, ...], tokens: ApiTokens | None) -> None:
    """Add the routes, each behind its access. DISPATCH routes authorise in the handler: which token counts depends on
    the execution the request names."""
    for route in routes:
        handler = route.handler
        if route.access in (Access.API, Access.NODE):
            if tokens is None:
                raise ValueError(f"{route.path} needs API tokens and this application has none")
            handler = _guarded(handler, tokens) if route.access is Access.API else _node_guarded(handler, tokens)
        app.router.add_route(route.method, route.path, handler)


def _guarded(handler: Handler, tokens: ApiTokens) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        tenant = tokens.require(request)
        if tenant is not None:
            request[TENANT] = tenant
        return await handler(request)

    return guarded


def _node_guarded(handler: Handler, tokens: ApiTokens) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        tokens.require_node(request)
        return await handler(request)

    return guarded


async def body_chunks(request: web.Request, bytes_max: int) -> AsyncIterator[bytes]:
    """The body as it comes, TooLarge before more than `bytes_max` is held. A declared length is believed when it is too
    large and counted anyway when it is not."""
    if request.content_length is not None and request.content_length > bytes_max:
        raise _too_large(request, bytes_max)
    received = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while chunk := await request.content.readany():
                received += len(chunk)
                if received > bytes_max:
                    raise _too_large(request, bytes_max)
                yield chunk
    except TimeoutError:
        raise BodyTimeout(f"The body did not arrive within {BODY_SECONDS:.0f} s") from None
    except (ConnectionError, web.RequestPayloadError) as error:  # the peer went away, or sends no HTTP
        raise InvalidRequest(f"The body ended early: {error}") from error


def _too_large(request: web.Request, bytes_max: int) -> TooLarge:
    return TooLarge(f"The body sent to {request.path} is larger than {bytes_max} bytes")


async def read_body(request: web.Request, bytes_max: int) -> bytes:
    return b"".join([chunk async for chunk in body_chunks(request, bytes_max)])


async def read_model(request: web.Request, model: type[M] | TypeAdapter[M], bytes_max: int) -> M:
    """The body as `model`; InvalidRequest names every fault."""
    body = await read_body(request, bytes_max)
    try:
        if isinstance(model, TypeAdapter):
            return model.validate_json(body)
        return model.model_validate_json(body)
    except ValidationError as error:
        raise from_validation(error, "body") from None


def integer_query(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InvalidRequest(f"Query parameter {name} is {text!r:.40}, wanted a number from {low} to {high}")
    return value


def json_response(view: BaseModel, status: int = 200) -> web.Response:
    return web.Response(status=status, body=view.model_dump_json().encode(), content_type="application/json")
