"""docs/nfs-support.md against the code: what it lists is what the code has, both ways.

That a documented error is really answered is `procedures/test_documented_errors.py`'s.
"""

from __future__ import annotations

import errno
import re

import pytest

from nfsd import limits
from nfsd.exports import ExportTable
from nfsd.mount3.program import MountProcedures
from nfsd.mount3.types import MountProc, Mountstat3
from nfsd.nfs3 import const
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.nfs3.status import ALLOWED, ERRNO_STATUS
from nfsd.procedures.replayed import NOT_REPEATABLE
from tests.nfsd.procedures.conftest import Mounted
from tests.nfsd.procedures.conftest import nfs as nfs  # a mounted export
from tests.support.documents import DOCS, tables

PATH = DOCS / "nfs-support.md"
TABLES = tables(PATH)
TEXT = " ".join(PATH.read_text(encoding="utf-8").split())
SECTIONS = {proc: f"{proc.value} {proc.name}" for proc in Proc}
COMMON = {Nfsstat3[row[0]] for row in TABLES["Errors of every procedure"][0]}
WHO = {"call", "volume", "host"}


def _errors(proc: Proc) -> list[tuple[str, ...]]:
    found = [table for table in TABLES[SECTIONS[proc]] if table[0][0].startswith("NFS3ERR_")]
    return found[0] if found else []


@pytest.mark.parametrize("proc", Proc, ids=lambda proc: proc.name)
def test_the_table_of_a_procedure_lists_what_it_may_answer_and_nothing_else(proc: Proc) -> None:
    rows = _errors(proc)
    listed = {Nfsstat3[row[0]] for row in rows}
    assert len(listed) == len(rows), "an error is listed once"
    assert all(row[1] and row[2] in WHO for row in rows), "each says when, and who brings it about"
    assert listed == ALLOWED.get(proc, frozenset()) - COMMON
    assert proc is Proc.NULL or ALLOWED[proc] >= COMMON


def test_the_errno_table_is_the_code_s() -> None:
    documented = {
        getattr(errno, name.strip()): Nfsstat3[status]
        for names, status in TABLES["errno and status"][0]
        for name in names.split(",")
    }
    assert documented == ERRNO_STATUS


def test_all_six_procedures_of_mount_are_described_and_served() -> None:
    rows, statuses = TABLES["MOUNT version 3"]
    assert [row[0] for row in rows] == [f"{proc.value} {proc.name}" for proc in MountProc]
    assert set(MountProcedures(ExportTable(bytes(32))).handlers()) == set(MountProc)
    never = {Mountstat3.MNT3ERR_NOTSUPP, Mountstat3.MNT3ERR_SERVERFAULT}
    assert {Mountstat3[row[0]] for row in statuses} == set(Mountstat3) - never


def test_the_procedures_whose_answers_are_kept_are_named() -> None:
    sentence = re.search(r"The answers to these are kept and sent again: (.*?)\.", TEXT)
    assert sentence is not None
    named = {Proc[word] for word in re.findall(r"\b[A-Z]{4,}\b", sentence[1])}
    assert named == NOT_REPEATABLE
    bounds = (
        f"{limits.REPLAY_ENTRIES_MAX:,} answers, {limits.REPLAY_BYTES_MAX >> 20} MiB, {limits.REPLAY_SECONDS_MAX} s"
    )
    assert bounds in TEXT
    assert f"the first {limits.REPLAY_ARGUMENT_BYTES_MAX} bytes of the arguments" in TEXT


def _fields(section: str) -> dict[str, str]:
    return {name.strip(): row[1] for row in TABLES[section][0] for name in row[0].split(",")}


def test_what_fsinfo_says_is_what_the_server_says(nfs: Mounted) -> None:
    documented = _fields("19 FSINFO")
    said = nfs.peer.ok(Proc.FSINFO, t.Object3Args(nfs.root))
    for name, size in {"rtmax": said.rtmax, "wtmax": said.wtmax, "rtpref": said.rtpref, "wtpref": said.wtpref}.items():
        assert documented[name] == f"{size >> 20} MiB"
    for name, size in {"rtmult": said.rtmult, "wtmult": said.wtmult, "dtpref": said.dtpref}.items():
        assert documented[name] == f"{size >> 10} KiB"
    assert documented["maxfilesize"].startswith("2^63-1;") and said.maxfilesize == 2**63 - 1
    assert documented["time_delta"] == f"{said.time_delta.ns} ns"
    flags = [getattr(const, name.strip()) for name in documented["properties"].split(",")]
    assert sum(flags) == said.properties


def test_what_pathconf_says_is_what_the_server_says(nfs: Mounted) -> None:
    documented = _fields("20 PATHCONF")
    said = nfs.peer.ok(Proc.PATHCONF, t.Object3Args(nfs.root))
    assert documented["linkmax"].startswith(f"{said.linkmax:,} ")
    assert documented["name_max"] == str(said.name_max)
    for name in ("no_trunc", "chown_restricted", "case_insensitive", "case_preserving"):
        assert documented[name] == str(bool(getattr(said, name))).lower()


def test_the_sizes_in_the_text_are_the_code_s() -> None:
    assert f"at most {limits.READDIRPLUS_ENTRIES_MAX:,} entries a reply" in TEXT
    assert f"1 to {limits.PATH_BYTES_MAX - 1} bytes but NUL" in TEXT.replace("any 1", "1")
    assert f"1 to {limits.NAME_BYTES_MAX} bytes, any but" in TEXT
    assert f"A path of more than {limits.MNTPATH_BYTES_MAX:,} bytes" in TEXT
    assert f"at most {limits.MOUNT_LIST_ENTRIES_MAX:,}, the oldest go" in TEXT
