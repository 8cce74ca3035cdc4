"""A container's two output streams (`GET /containers/{id}/logs`), told apart.

Without a terminal the engine sends frames: 8 bytes (stream 1 or 2, three zeros, length in network order), then the
bytes ("Stream format" of `POST /containers/{id}/attach` in the API's reference).
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Literal

from aegis.adapters.docker.connection import Connection, EngineRefused, Stream
from aegis.errors import ContainerFailed, NotFound

_HEADER = struct.Struct(">B3xL")
_NAMES: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}
PIECE_BYTES_MAX = 64 * 1024  # a frame is given out in pieces: its length is the peer's word
BODY_SECONDS = 30.0  # between a frame's header and its bytes


async def follow(connection: Connection, container_id: str) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
    """From the first byte kept (the log is bounded, see payloads.py) until the container has ended.

    At most one piece is held in memory. NotFound when there is no such container; DockerUnavailable when the
    connection breaks, after which the caller may follow from the start again."""
    short = container_id[:12]
    params = {"stdout": 1, "stderr": 1, "follow": 1}
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
