"""The router over bytes: which worker a call belongs to, and a connection's stream that goes on in another process."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from nfsd.nfs3.const import NFS_PROGRAM
from nfsd.rpc.record import LAST_FRAGMENT, RecordBuffer, marked_record
from nfsd.server.router import Ownership, Router, first_key

OWN, THEIRS = b"own key!", b"theirkey"


class _Link:
    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def call(self, _peer: object, record: bytes) -> bytes:
        self.calls.append(record)
        return b"forwarded"


def _call(key: bytes, proc: int, credential: bytes, verifier: bytes, prog: int = NFS_PROGRAM) -> bytearray:
    padded = [part + bytes(-len(part) & 3) for part in (credential, verifier)]
    return bytearray(
        struct.pack(">8I", 7, 0, 2, prog, 3, proc, 1, len(credential)) + padded[0]
        + struct.pack(">2I", 0, len(verifier)) + padded[1]
        + struct.pack(">I", 32) + key + bytes(24)
    )  # fmt: skip


def _router(link: _Link) -> Router:
    owned = Ownership(keys={THEIRS: 1}, own_keys=frozenset([OWN]))
    return Router(lambda *_: b"here", {1: link}, owned, lambda *_: None)  # type: ignore[dict-item]


@given(
    key=st.sampled_from([OWN, THEIRS, b"nobody's"]), proc=st.integers(0, 21), credential=st.binary(max_size=400),
    verifier=st.binary(max_size=400), before=st.binary(max_size=9),
)  # fmt: skip
def test_a_call_goes_to_the_owner_of_its_first_handle(
    key: bytes, proc: int, credential: bytes, verifier: bytes, before: bytes
) -> None:
    link = _Link()
    call = _call(key, proc, credential, verifier)
    buf = bytearray(before) + call + bytes(40)
    answer = _router(link).call(None, buf, len(before), len(before) + len(call))  # type: ignore[arg-type]
    theirs = key == THEIRS and proc != 0
    assert answer == (b"forwarded" if theirs else b"here")
    assert link.calls == ([bytes(call)] if theirs else [])


@given(record=st.binary(max_size=200), cut=st.integers(0, 200))
def test_what_is_no_whole_call_is_answered_here(record: bytes, cut: int) -> None:
    link = _Link()
    whole = _call(THEIRS, 1, b"credential", b"")
    for buf, end in ((bytearray(record), len(record)), (whole, min(cut, len(whole) - 1))):
        assert _router(link).call(None, buf, 0, end) == b"here"  # type: ignore[arg-type]
    assert link.calls == []


def test_only_nfs_calls_have_a_key() -> None:
    call = _call(THEIRS, 1, b"", b"", prog=100005)
    assert first_key(call, 0, len(call)) is None


@given(records=st.lists(st.lists(st.binary(max_size=50), min_size=1, max_size=3), max_size=6), data=st.data())
def test_a_stream_cut_anywhere_goes_on_where_it_was_left(records: list[list[bytes]], data: st.DataObject) -> None:
    stream = b"".join(
        struct.pack(">I", len(part) | (LAST_FRAGMENT if index == len(fragments) - 1 else 0)) + part
        for fragments in records
        for index, part in enumerate(fragments)
    )
    cut = data.draw(st.integers(0, len(stream)))
    answered = data.draw(st.integers(0, len(records)))
    first, second = RecordBuffer(), RecordBuffer()
    first.space()[:cut] = stream[:cut]
    got = first.feed(cut)
    done = [bytes(buf[start:end]) for buf, start, end in got[:answered]]
    rest = b"".join(marked_record(*record) for record in got[answered:]) + first.rest() + stream[cut:]
    second.space()[: len(rest)] = rest
    done += [bytes(buf[start:end]) for buf, start, end in second.feed(len(rest))]
    assert done == [b"".join(fragments) for fragments in records]
