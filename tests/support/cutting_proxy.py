"""A TCP proxy of loopback ports that cuts every connection once it has passed on so many bytes in all.

    python -m tests.support.cutting_proxy LISTEN-PORT TARGET-PORT BYTES-MAX

Says `ready` when it listens. What is cut is cut for good: later connections end at once.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

CHUNK_BYTES = 64 * 1024


class Budget:
    def __init__(self, bytes_max: int) -> None:
        self.left = bytes_max


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: Budget) -> None:
    while budget.left > 0 and (chunk := await reader.read(CHUNK_BYTES)):
        writer.write(chunk[: budget.left])
        budget.left -= len(chunk)
        await writer.drain()
    if budget.left <= 0:
        writer.transport.abort()
    else:
        writer.write_eof()


async def serve_one(target: int, budget: Budget, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        upstream, to_target = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pass_on(reader, to_target, Budget(1 << 40)), pass_on(upstream, writer, budget))
    except OSError:
        writer.transport.abort()


async def serve(port: int, target: int, bytes_max: int) -> None:
    server = await asyncio.start_server(partial(serve_one, target, Budget(bytes_max)), "127.0.0.1", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:4])))
