"""A Unix socket in front of a TCP port: `forward.py SOCKET HOST PORT`. Runs inside a lab network, for those outside
of it.

A Unix socket is found by its path from any network namespace, and dockerd's API is expected on one.
"""

from __future__ import annotations

import asyncio
import os
import sys

CHUNK_BYTES = 64 * 1024


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end of input and pass the end on: Docker's attached streams are closed by halves."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def forward(path: str, host: str, port: int) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        far_writer.close()
        writer.close()

    server = await asyncio.start_unix_server(handle, path)
    os.chmod(path, 0o666)
    print("forward: ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(forward(sys.argv[1], sys.argv[2], int(sys.argv[3])))
