"""LOOKUP and READLINK (RFC 1813 sections 3.3.3, 3.3.5): from a directory to a child, from a link to its text.

No symlink is followed here or below: a target is bytes, and only the client knows what they mean to it.
"""

from __future__ import annotations

import errno
import os
import stat

from nfsd.exports import ExportTable
from nfsd.nfs3.args import decode_lookup, decode_readlink
from nfsd.nfs3.results import encode_lookup, encode_readlink
from nfsd.procedures.names import check_name
from nfsd.procedures.shown import post_op_attr, post_op_attr_of
from nfsd.vfs.interface import Caller
from nfsd.xdr import Buffer


class LookupProcedures:
    def __init__(self, exports: ExportTable) -> None:
        self._exports = exports
        self._resolve = exports.resolve

    def lookup(self, caller: Caller, buf: Buffer, offset: int, end: int) -> bytes:
        handle, name = decode_lookup(buf, offset, end)
        export, directory = self._resolve(handle)
        check_name(name)
        if directory.kind != stat.S_IFDIR:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if name == b".":
            node, attributes = directory, export.fs.getattr(directory)
        elif name == b"..":
            node, attributes = export.fs.parent(caller, directory)
        else:
            node, attributes = export.fs.lookup(caller, directory, name)
        return encode_lookup(
            self._exports.handle(export, node), post_op_attr(export, attributes), post_op_attr_of(export, directory)
        )

    def readlink(self, caller: Caller, buf: Buffer, offset: int, end: int) -> bytes:
        export, node = self._resolve(decode_readlink(buf, offset, end))
        target = export.fs.readlink(caller, node)
        return encode_readlink(post_op_attr_of(export, node), target)
