"""Ask an NFSv3 server whether it serves: MOUNT NULL, MNT, NFS NULL and GETATTR over TCP, with the plain codecs.

For health checks and diagnosis, from any process: it is a client, and shares nothing with the server but the words of
RFC 1813. One connection, four calls, one deadline over all of them.
"""

from __future__ import annotations

import asyncio
import os
import struct

from nfsd.errors import NfsdError
from nfsd.limits import RECORD_BYTES_MAX
from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3, MountProc, Mountres3, Mountstat3
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3, Proc
from nfsd.nfs3.restypes import Getattr3Ok, unpack_result
from nfsd.nfs3.types import Fattr3, Object3Args
from nfsd.rpc.auth import AUTH_SYS, Credentials, encode_authsys_parms
from nfsd.rpc.message import REPLY_OK_BYTES, encode_call, marked, reply_ok
from nfsd.xdr import Packer

_LAST_FRAGMENT = 0x80000000


class ProbeError(Exception):
    """The server did not serve; the message says how far it came and what it answered."""


async def probe(host: str, port: int, export: bytes, *, timeout_seconds: float = 5.0) -> Fattr3:
    """The attributes of the export's root, as a client gets them.

    Raises ProbeError, whatever the reason: nothing listens, the address is refused, no such export, an error status,
    an answer that is no answer, or no answer within `timeout_seconds` for the whole of it.
    """
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await _Conversation(reader, writer).root_attributes(export)
            finally:
                writer.close()
    except TimeoutError:
        raise ProbeError(f"{where} did not answer within {timeout_seconds:g} s") from None
    except asyncio.IncompleteReadError:
        raise ProbeError(f"{where} closed the connection without an answer (is our address allowed?)") from None
    except OSError as error:
        raise ProbeError(f"{where}: {error.strerror or error}") from error
    except (NfsdError, struct.error, ValueError) as error:
        raise ProbeError(f"{where} answered what is no NFSv3: {error}") from error


class _Conversation:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._xid = 0
        self._credential = encode_authsys_parms(Credentials(os.getuid(), os.getgid(), (), b"probe"))

    async def root_attributes(self, export: bytes) -> Fattr3:
        await self._call(MOUNT_PROGRAM, MOUNT_V3, MountProc.NULL)
        path = Packer()
        path.opaque(export)
        answer = Mountres3.from_bytes(await self._call(MOUNT_PROGRAM, MOUNT_V3, MountProc.MNT, bytes(path)))
        if answer.mountinfo is None:
            raise ProbeError(f"MNT {export.decode(errors='replace')}: {Mountstat3(answer.fhs_status).name}")
        await self._call(NFS_PROGRAM, NFS_V3, Proc.NULL)
        body = await self._call(NFS_PROGRAM, NFS_V3, Proc.GETATTR, bytes(Object3Args(answer.mountinfo.fhandle)))
        status, result = unpack_result(Proc.GETATTR, body)
        if not isinstance(result, Getattr3Ok):
            raise ProbeError(f"GETATTR of the root of {export.decode(errors='replace')}: {status.name}")
        return result.obj_attributes

    async def _call(self, program: int, version: int, procedure: int, arguments: bytes = b"") -> bytes:
        """The results of an accepted call; ProbeError for any other reply."""
        self._xid += 1
        call = encode_call(
            self._xid, program, version, procedure, arguments, flavor=AUTH_SYS, credential=self._credential
        )
        self._writer.write(marked(call))
        await self._writer.drain()
        (mark,) = struct.unpack(">I", await self._reader.readexactly(4))
        length = mark & ~_LAST_FRAGMENT
        if not mark & _LAST_FRAGMENT or length > RECORD_BYTES_MAX:
            raise ProbeError(f"a reply of {length} bytes in fragments where one short record was expected")
        reply = await self._reader.readexactly(length)
        if reply[:REPLY_OK_BYTES] != reply_ok(self._xid):
            raise ProbeError(f"program {program} procedure {procedure} was not accepted: {reply[:32].hex(' ', 4)}")
        return reply[REPLY_OK_BYTES:]
