"""A container's two output streams (`GET /containers/{id}/logs`), told apart.

Without a terminal the engine sends frames: 8 bytes (stream 1 or 2, three zeros, length in network order), then the
bytes ("Stream format" of `POST /containers/{id}/attach` in the API's reference).

The rule to know: following loses the end. The engine ends a followed answer when the container ends, also when it has
not sent all of the log yet (20.10: in one of three tries with 400 kB). So the log is read once more, without following,
and what was given out already is skipped.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Literal

from aegis.adapters.docker.connection import Connection, EngineRefused, Stream
from aegis.errors import ContainerFailed, NotFound

StreamName = Literal["stdout", "stderr"]

_HEADER = struct.Struct(">B3xL")
_NAMES: dict[int, StreamName] = {1: "stdout", 2: "stderr"}
PIECE_BYTES_MAX = 64 * 1024  # a frame is given out in pieces: its length is the peer's word
BODY_SECONDS = 30.0  # between a frame's header and its bytes


async def follow(connection: Connection, container_id: str) -> AsyncIterator[tuple[StreamName, bytes]]:
    """From the first byte kept until the container has ended. A log that outgrew its bound (payloads.py) has lost its
    oldest part, and then perhaps some of its last.

    At most one piece is held in memory. NotFound when there is no such container; DockerUnavailable when the
    connection breaks, after which the caller may follow from the start again."""
    given = {"stdout": 0, "stderr": 0}
    async for name, piece in _read(connection, container_id, follow=True):
        given[name] += len(piece)
        yield name, piece
    try:
        async for name, piece in _read(connection, container_id, follow=False):
            known = min(given[name], len(piece))
            given[name] -= known
            if known < len(piece):
                yield name, piece[known:]
    except NotFound:
        return  # removed while it was followed: what was given out is what there is


async def _read(connection: Connection, container_id: str, *, follow: bool) -> AsyncIterator[tuple[StreamName, bytes]]:
    short = container_id[:12]
    params = {"stdout": 1, "stderr": 1, "follow": int(follow)}
    try:
        async with connection.stream(
            f"show the log of container {short}", "GET", f"containers/{container_id}/logs", params=params
        ) as stream:
            while header := await stream.exactly(_HEADER.size):
                if len(header) < _HEADER.size:
                    raise ContainerFailed(f"The log of container {short} ended inside a frame")
                number, length = _HEADER.unpack(header)
                if number not in _NAMES:
                    raise ContainerFailed(f"The log of container {short} has a frame of unknown stream {number}")
                async for piece in _pieces(stream, length):
                    yield _NAMES[number], piece
    except EngineRefused as refused:
        if refused.http_status == 404:
            raise NotFound(f"There is no container {short}") from refused
        raise


async def _pieces(stream: Stream, length: int) -> AsyncIterator[bytes]:
    while length:
        piece = await stream.exactly(min(length, PIECE_BYTES_MAX), seconds=BODY_SECONDS)
        if not piece:
            return
        length -= len(piece)
        yield piece
