"""`/v1/bundles`: agents and their images as one file, out of this node and into it. Streams both ways.

A file that is broken off on its way out ends without the end of its transfer, which HTTP clients tell from a whole one.
On the way in the rest of a refused file is read and thrown away: a client that is still writing would otherwise
see a cut connection instead of the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from aegis.api.auth import Access
from aegis.api.context import context_of
from aegis.api.problems import BodyTimeout, InvalidRequest
from aegis.api.routing import Route, json_response, read_model
from aegis.api.views import LoadedBundleView
from aegis.api.wire import REQUEST_BYTES_MAX, BundleRequest
from aegis.errors import AegisError, Overloaded

BUNDLES_AT_ONCE_MAX = 2
PIECE_SECONDS = 60.0  # between two pieces of a file that is sent to us
BUNDLES: web.AppKey[asyncio.Semaphore] = web.AppKey("bundles", asyncio.Semaphore)
TAR = "application/x-tar"

log = logging.getLogger(__name__)


async def save_bundle(request: web.Request) -> web.StreamResponse:
    """A bundle of these agents and images. What is wrong before its first byte is a problem document."""
    context = context_of(request)
    wanted = await read_model(request, BundleRequest, REQUEST_BYTES_MAX)
    async with _turn(request):
        pieces = context.bundles.save(context.tenant_id, wanted.agents, wanted.images)
        first = await anext(pieces)
        response = web.StreamResponse(headers={"Content-Type": TAR})
        await response.prepare(request)
        try:
            await response.write(first)
            async for piece in pieces:
                await response.write(piece)
        except AegisError as error:
            log.warning("a bundle is broken off: %s", error)
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response


async def load_bundle(request: web.Request) -> web.Response:
    """Take a bundle: images into the engine, agents deployed."""
    context = context_of(request)
    async with _turn(request):
        content = _pieces(request)
        try:
            loaded = await context.bundles.load(context.tenant_id, content)
        except AegisError:
            with suppress(RuntimeError):  # whoever was given it has not let go of it yet
                await content.aclose()
            async for _ in _pieces(request):
                pass
            raise
        return json_response(LoadedBundleView.of(loaded))


async def _pieces(request: web.Request) -> AsyncGenerator[bytes]:
    while True:
        try:
            async with asyncio.timeout(PIECE_SECONDS):
                piece = await request.content.readany()
        except TimeoutError:
            raise BodyTimeout(f"Nothing of the bundle came for {PIECE_SECONDS:.0f} s") from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise InvalidRequest(f"The bundle ended early: {error}") from error
        if not piece:
            return
        yield piece


@asynccontextmanager
async def _turn(request: web.Request) -> AsyncIterator[None]:
    turns = request.app[BUNDLES]
    if turns.locked():
        raise Overloaded(f"{BUNDLES_AT_ONCE_MAX} bundles are on their way already, no more can be")
    async with turns:
        yield


BUNDLE = "/v1/bundles"

ROUTES = (
    Route(
        method="POST",
        path=BUNDLE,
        handler=save_bundle,
        access=Access.NODE,
        summary="A file with agents and their images",
        request=BundleRequest,
        response_type=TAR,
    ),
    Route(
        method="PUT",
        path=BUNDLE,
        handler=load_bundle,
        access=Access.NODE,
        summary="Take such a file",
        request_type=TAR,
        response=LoadedBundleView,
    ),
)
