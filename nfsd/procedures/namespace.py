"""The procedures that make and remove names: CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK
(RFC 1813 sections 3.3.8 to 3.3.15).

All handles of a call are resolved before anything is changed: a handle whose node has to be searched for restarts the
call, and that must be free of consequences.
"""

from __future__ import annotations

import stat

from nfsd.errors import Nfs3Error
from nfsd.exports import Export, ExportTable
from nfsd.limits import PATH_BYTES_MAX
from nfsd.nfs3.args import (
    decode_create,
    decode_link,
    decode_mkdir,
    decode_mknod,
    decode_remove,
    decode_rename,
    decode_rmdir,
    decode_symlink,
)
from nfsd.nfs3.const import Ftype3, Nfsstat3
from nfsd.nfs3.results import (
    encode_create,
    encode_link,
    encode_remove,
    encode_rename,
    encode_rmdir,
)
from nfsd.procedures.attributes import changes
from nfsd.procedures.names import check_entry_name
from nfsd.procedures.shown import post_op_attr, wcc_later, wcc_of, with_wcc
from nfsd.vfs.interface import NO_CHANGES, Attributes, Caller, CreateHow, Later, Maybe, Node
from nfsd.xdr import Buffer

_HOW = (CreateHow.UNCHECKED, CreateHow.GUARDED, CreateHow.EXCLUSIVE)
_KINDS = {
    Ftype3.NF3SOCK: stat.S_IFSOCK,
    Ftype3.NF3FIFO: stat.S_IFIFO,
    Ftype3.NF3CHR: stat.S_IFCHR,
    Ftype3.NF3BLK: stat.S_IFBLK,
}


class NamespaceProcedures:
    def __init__(self, exports: ExportTable) -> None:
        self._exports = exports
        self._resolve = exports.resolve

    # ---- making ----

    def create(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, name, mode, attributes, verf = decode_create(buf, offset, end)
        export, directory = self._resolve(handle)
        check_entry_name(name)
        wanted = NO_CHANGES if attributes is None else changes(attributes)
        before = export.before(directory)
        made = export.fs.create(caller, directory, name, _HOW[mode], wanted, verf or b"")
        return self._made(export, directory, before, made)

    def mkdir(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, name, attributes = decode_mkdir(buf, offset, end)
        export, directory = self._resolve(handle)
        check_entry_name(name)
        before = export.before(directory)
        return self._made(export, directory, before, export.fs.mkdir(caller, directory, name, changes(attributes)))

    def symlink(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, name, attributes, target = decode_symlink(buf, offset, end)
        export, directory = self._resolve(handle)
        check_entry_name(name)
        if len(target) >= PATH_BYTES_MAX:
            raise Nfs3Error(Nfsstat3.NFS3ERR_NAMETOOLONG, f"a symlink of {len(target)} bytes")
        before = export.before(directory)
        made = export.fs.symlink(caller, directory, name, target, changes(attributes))
        return self._made(export, directory, before, made)

    def mknod(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        """FIFOs and sockets. A device is the file system's EPERM, as mknod(2) of an ordinary user is."""
        handle, name, kind, attributes, _spec = decode_mknod(buf, offset, end)
        export, directory = self._resolve(handle)
        if attributes is None:
            raise Nfs3Error(Nfsstat3.NFS3ERR_BADTYPE, "files, directories and links have procedures of their own")
        check_entry_name(name)
        before = export.before(directory)
        made = export.fs.mknod(caller, directory, name, _KINDS[Ftype3(kind)], changes(attributes))
        return self._made(export, directory, before, made)

    def _made(
        self, export: Export, directory: Node, before: Attributes, made: Maybe[tuple[Node, Attributes]]
    ) -> Maybe[bytes]:
        def encode(dir_wcc: bytes, child: tuple[Node, Attributes]) -> bytes:
            node, attributes = child
            return encode_create(self._exports.handle(export, node), post_op_attr(export, attributes), dir_wcc)

        return with_wcc(export, directory, before, made, encode)

    # ---- removing ----

    def remove(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, name = decode_remove(buf, offset, end)
        export, directory = self._resolve(handle)
        check_entry_name(name, Nfsstat3.NFS3ERR_ACCES)
        before = export.before(directory)
        removed = export.fs.remove(caller, directory, name)
        return with_wcc(export, directory, before, removed, lambda wcc, _: encode_remove(wcc))

    def rmdir(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, name = decode_rmdir(buf, offset, end)
        export, directory = self._resolve(handle)
        check_entry_name(name, Nfsstat3.NFS3ERR_INVAL if name == b"." else Nfsstat3.NFS3ERR_EXIST)
        before = export.before(directory)
        removed = export.fs.rmdir(caller, directory, name)
        return with_wcc(export, directory, before, removed, lambda wcc, _: encode_rmdir(wcc))

    # ---- moving and linking ----

    def rename(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        from_handle, from_name, to_handle, to_name = decode_rename(buf, offset, end)
        export, from_directory = self._resolve(from_handle)
        to_export, to_directory = self._resolve(to_handle)
        _check_same_export(export, to_export)
        check_entry_name(from_name, Nfsstat3.NFS3ERR_INVAL)
        check_entry_name(to_name, Nfsstat3.NFS3ERR_INVAL)
        from_before = export.before(from_directory)
        to_before = export.before(to_directory)
        done = export.fs.rename(caller, from_directory, from_name, to_directory, to_name)
        if isinstance(done, Later):
            from_later = wcc_later(export, from_directory, from_before)
            to_later = wcc_later(export, to_directory, to_before)
            return done.then(lambda _: encode_rename(from_later(), to_later()))
        return encode_rename(
            wcc_of(export, from_directory, from_before),
            wcc_of(export, to_directory, to_before),
        )

    def link(self, caller: Caller, buf: Buffer, offset: int, end: int) -> Maybe[bytes]:
        handle, directory_handle, name = decode_link(buf, offset, end)
        export, node = self._resolve(handle)
        directory_export, directory = self._resolve(directory_handle)
        _check_same_export(export, directory_export)
        check_entry_name(name)
        before = export.before(directory)
        linked = export.fs.link(caller, node, directory, name)
        return with_wcc(
            export,
            directory,
            before,
            linked,
            lambda wcc, attributes: encode_link(post_op_attr(export, attributes), wcc),
        )


def _check_same_export(one: Export, other: Export) -> None:
    """Two exports are two file systems to a client, also when one backend is behind both."""
    if one is not other:
        raise Nfs3Error(Nfsstat3.NFS3ERR_XDEV, "from one export to another")
