"""`/v1/volumes`: the volumes, and their files by path.

Files go through the gateway's own stack (audit, squash, policy, quota): there is no second way to them. One file at a
time is held in memory, so it is bounded (`FILE_BYTES_MAX`), and so is how many are held at once.
"""

from __future__ import annotations

import asyncio
from urllib.parse import unquote_to_bytes

from aiohttp import web

from aegis.api.auth import Access
from aegis.api.context import Context, context_of
from aegis.api.problems import InvalidRequest, TooLarge
from aegis.api.routing import Route, integer_query, json_response, read_body, read_model
from aegis.api.views import FileView, Page, VolumeView
from aegis.api.wire import FILE_BYTES_MAX, REQUEST_BYTES_MAX, VolumeRequest
from aegis.domain.volume import Volume, VolumeState
from aegis.errors import Conflict, NotFound
from aegis.ports import Workspace

FILES_AT_ONCE = 4  # times FILE_BYTES_MAX is the memory file routes may hold
TRANSFERS: web.AppKey[asyncio.Semaphore] = web.AppKey("transfers", asyncio.Semaphore)
GONE = (VolumeState.DELETING, VolumeState.DELETED)


class AmbiguousName(Conflict):
    code = "ambiguous_name"


async def find_volume(context: Context, name_or_id: str) -> Volume:
    """By id, else by name among the volumes there are. AmbiguousName when several have it: names are not unique."""
    try:
        return await context.store.get_volume(context.tenant_id, name_or_id)
    except NotFound:
        volumes = await context.store.list_volumes(context.tenant_id)
        named = [volume for volume in volumes if volume.name == name_or_id and volume.state not in GONE]
        if not named:
            raise
        if len(named) > 1:
            ids = ", ".join(volume.id for volume in named[:10])
            raise AmbiguousName(f"{len(named)} volumes are named {name_or_id}", next_step=f"Use an id: {ids}") from None
        return named[0]


async def create_volume(request: web.Request) -> web.Response:
    context = context_of(request)
    wanted = await read_model(request, VolumeRequest, REQUEST_BYTES_MAX)
    volume = await context.volumes.create(
        context.tenant_id,
        wanted.name,
        storage_class=wanted.storage_class,
        size_limit_bytes=wanted.size_limit_bytes,
        ttl_hours=wanted.ttl_hours,
    )
    return json_response(VolumeView.of(volume), status=201)


async def list_volumes(request: web.Request) -> web.Response:
    context = context_of(request)
    limit = integer_query(request, "limit", 100, low=1, high=1000)
    volumes = await context.store.list_volumes(context.tenant_id, limit=limit)
    if request.query.get("deleted") != "true":
        volumes = [volume for volume in volumes if volume.state not in GONE]
    return json_response(Page[VolumeView](items=[VolumeView.of(volume) for volume in volumes]))


async def show_volume(request: web.Request) -> web.Response:
    context = context_of(request)
    volume = await find_volume(context, request.match_info["volume"])
    usage = None if volume.state in GONE else await context.gateway.usage(volume)
    attachments = await context.store.list_attachments(volume_id=volume.id)
    return json_response(VolumeView.of(volume, usage, attachments))


async def delete_volume(request: web.Request) -> web.Response:
    context = context_of(request)
    volume = await find_volume(context, request.match_info["volume"])
    await context.volumes.delete(context.tenant_id, volume.id)
    return web.Response(status=204)


# ---- files ----


async def _workspace(request: web.Request) -> tuple[Workspace, str]:
    context = context_of(request)
    volume = await find_volume(context, request.match_info["volume"])
    if volume.state in GONE:
        raise NotFound(f"Volume {volume.name} is {volume.state}")
    return context.gateway.workspace(volume), _file_path(request)


def _file_path(request: web.Request) -> str:
    """From the undecoded path: a file's name is any bytes, which UTF-8 decoding would have replaced already."""
    _, _, encoded = request.rel_url.raw_path.partition("/files")
    raw = unquote_to_bytes(encoded)
    if b"\0" in raw:
        raise InvalidRequest("A file's path holds no NUL byte")
    return raw.strip(b"/").decode("utf-8", "surrogateescape")


async def read_file(request: web.Request) -> web.Response:
    """A file's bytes, or a directory's entries as JSON (told apart by the content type)."""
    workspace, path = await _workspace(request)
    entry = await workspace.stat(path)
    if entry.kind == "directory":
        entries = await workspace.list(path)
        return json_response(Page[FileView](items=[FileView.of(item) for item in entries]))
    if entry.size_bytes > FILE_BYTES_MAX:
        raise TooLarge(
            f"The file is {entry.size_bytes} bytes, more than the {FILE_BYTES_MAX} this route reads",
            next_step="Mount the volume in a container to copy large files",
        )
    async with request.app[TRANSFERS]:
        content = await workspace.read(path, bytes_max=FILE_BYTES_MAX)
        # Never as HTML or a script of this origin, whatever an agent wrote.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
        return web.Response(body=content, content_type="application/octet-stream", headers=headers)


async def write_file(request: web.Request) -> web.Response:
    """Create or replace a file; with `?directory=true` make a directory."""
    workspace, path = await _workspace(request)
    if not path:
        raise InvalidRequest("The volume's root itself cannot be written", next_step="Name a file below /files/")
    if request.query.get("directory") == "true":
        await workspace.make_directory(path)
        return web.Response(status=204)
    async with request.app[TRANSFERS]:
        await workspace.write(path, await read_body(request, FILE_BYTES_MAX))
    return web.Response(status=204)


async def delete_file(request: web.Request) -> web.Response:
    """Remove a file or an empty directory; with `?recursive=true` a directory with what is in it."""
    workspace, path = await _workspace(request)
    if not path:
        raise InvalidRequest("The volume's root itself cannot be deleted", next_step="Delete the volume")
    await workspace.delete(path, recursive=request.query.get("recursive") == "true")
    return web.Response(status=204)


VOLUME = "/v1/volumes/{volume}"
FILES = VOLUME + "/files{path:(?:/.*)?}"
BYTES = "application/octet-stream"

ROUTES = (
    Route(
        method="POST",
        path="/v1/volumes",
        handler=create_volume,
        access=Access.API,
        summary="Create a volume",
        status=201,
        request=VolumeRequest,
        response=VolumeView,
    ),
    Route(
        method="GET",
        path="/v1/volumes",
        handler=list_volumes,
        access=Access.API,
        summary="Volumes, newest first",
        response=Page[VolumeView],
        query=("limit", "deleted"),
    ),
    Route(
        method="GET",
        path=VOLUME,
        handler=show_volume,
        access=Access.API,
        summary="One volume, by id or name, with its usage and who has it attached",
        response=VolumeView,
    ),
    Route(
        method="DELETE",
        path=VOLUME,
        handler=delete_volume,
        access=Access.API,
        summary="Delete a volume and its files",
        status=204,
    ),
    Route(
        method="GET",
        path=FILES,
        handler=read_file,
        access=Access.API,
        summary="A file's bytes, or a directory's entries",
        response=Page[FileView],
    ),
    Route(
        method="PUT",
        path=FILES,
        handler=write_file,
        access=Access.API,
        summary="Create or replace a file, or make a directory",
        status=204,
        request_type=BYTES,
        query=("directory",),
    ),
    Route(
        method="DELETE",
        path=FILES,
        handler=delete_file,
        access=Access.API,
        summary="Remove a file or directory",
        status=204,
        query=("recursive",),
    ),
)
