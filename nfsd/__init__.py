"""An embeddable NFSv3 server in pure asyncio (RFC 1813, over TCP), and `python -m nfsd` around it.

    exports = ExportTable(secret)                       # 32 random bytes, kept
    fs = build_stack(LocalFileSystem("/srv/v"), identity=SquashTo(1000, 1000))
    exports.attach(Export(b"/tenant/volume", key, fs, fsid))
    server = NfsServer(exports, listen=[("127.0.0.1", 2049)])
    await server.start()

What an embedder needs is named here; the file systems are in `nfsd.vfs`. The library logs to the logger "nfsd".
"""

from nfsd.exports import Export, ExportTable
from nfsd.handles import derived_export_key
from nfsd.server.listen import ListenError
from nfsd.server.server import NfsServer
from nfsd.server.stats import ServerStats
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.stack import MappedFor, SquashTo, build_stack

__all__ = [
    "Export",
    "ExportTable",
    "FileSystem",
    "ListenError",
    "LocalFileSystem",
    "MemoryFileSystem",
    "NfsServer",
    "ServerStats",
    "MappedFor",
    "SquashTo",
    "build_stack",
    "derived_export_key",
]
