"""A way to an NFS server on which answers get lost: `python lossy.py HOST PORT TO_HOST TO_PORT`.

Calls pass. Of one procedure after the other, a call's answer is thrown away when it has come, so the work is done, and
the client's connection is cut: what a client sees of a network that fails at the worst moment. Each is told on standard
output ("lost 14": RENAME). When every procedure of `PROCEDURES` has had its turn, it begins with the first again.

Alone, without the project: it runs as a script on Python's own library.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from itertools import cycle

PROCEDURES = (8, 9, 10, 11, 12, 13, 14, 15)  # CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK
NFS_PROGRAM = 100003
LAST_FRAGMENT = 0x80000000
_CALL = struct.Struct(">6I")  # xid, CALL, 2, program, version, procedure


class Way:
    """All connections through one listening socket: they take turns in losing."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._turns = cycle(PROCEDURES)
        self._next = next(self._turns)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        doomed: set[int] = set()
        calls = asyncio.create_task(self._calls(reader, far_writer, doomed))
        try:
            await self._replies(far_reader, writer, doomed)
        finally:
            calls.cancel()
            await asyncio.gather(calls, return_exceptions=True)
            writer.transport.abort()
            far_writer.close()

    async def _calls(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, doomed: set[int]) -> None:
        while True:
            record = await _record(reader)
            if record is None:
                far.close()
                return
            if len(record) >= 4 + _CALL.size:
                xid, _, _, program, _, procedure = _CALL.unpack_from(record, 4)
                if program == NFS_PROGRAM and procedure == self._next and not doomed:
                    doomed.add(xid)
            far.write(record)
            await far.drain()

    async def _replies(self, far: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: set[int]) -> None:
        while (record := await _record(far)) is not None:
            if int.from_bytes(record[4:8], "big") in doomed:
                print(f"lost {self._next}", flush=True)
                self._next = next(self._turns)
                return
            writer.write(record)
            try:
                await writer.drain()
            except ConnectionError:
                return


async def _record(reader: asyncio.StreamReader) -> bytes | None:
    """With its mark; None at the end. Neither the kernel's client nor our server sends more than one fragment."""
    try:
        mark = await reader.readexactly(4)
        return mark + await reader.readexactly(int.from_bytes(mark, "big") & ~LAST_FRAGMENT)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def serve(host: str, port: int, to_host: str, to_port: int) -> None:
    """Until it is cancelled. Prints "ready PORT" first; `port` 0 takes a free one."""
    server = await asyncio.start_server(Way(to_host, to_port).connection, host, port)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
