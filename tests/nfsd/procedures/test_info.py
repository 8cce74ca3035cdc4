"""FSSTAT, FSINFO, PATHCONF: true values."""

import os

from nfsd.limits import MIB
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import FSF3_CANSETTIME, FSF3_HOMOGENEOUS, FSF3_LINK, FSF3_SYMLINK, Proc
from tests.nfsd.procedures.conftest import Mounted


def test_fsstat_is_the_hosts_statvfs(nfs: Mounted) -> None:
    body = nfs.peer.ok(Proc.FSSTAT, t.Object3Args(nfs.root))
    host = os.statvfs(nfs.path)
    assert body.tbytes == host.f_blocks * host.f_frsize
    assert 0 < body.abytes <= body.fbytes <= body.tbytes
    assert body.tfiles == host.f_files
    assert body.obj_attributes == nfs.peer.getattr(nfs.root)


def test_fsinfo_offers_a_mebibyte_and_nanoseconds(nfs: Mounted) -> None:
    body = nfs.peer.ok(Proc.FSINFO, t.Object3Args(nfs.root))
    assert (body.rtmax, body.wtmax, body.rtpref, body.wtpref) == (MIB, MIB, MIB, MIB)
    assert body.time_delta == t.Nfstime3(0, 1)
    assert body.maxfilesize == (1 << 63) - 1
    assert body.properties == FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME


def test_pathconf_is_linux(nfs: Mounted) -> None:
    body = nfs.peer.ok(Proc.PATHCONF, t.Object3Args(nfs.root))
    assert (body.name_max, body.no_trunc, body.chown_restricted) == (255, True, True)
    assert (body.case_insensitive, body.case_preserving) == (False, True)
