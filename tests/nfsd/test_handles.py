"""Handles: 32 bytes that only this server can make, and that say everything by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsd.errors import Nfs3Error
from nfsd.handles import HANDLE_BYTES, FileId, HandleCodec, derived_export_key
from nfsd.nfs3.const import Nfsstat3

SECRET = b"0123456789abcdef"
CODEC = HandleCodec(SECRET)

file_ids = st.builds(
    FileId, st.binary(min_size=8, max_size=8), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1)
)


@given(file_ids)
def test_a_handle_means_what_it_was_made_for_also_after_a_restart(file_id: FileId) -> None:
    handle = CODEC.encode(*file_id)
    assert len(handle) == HANDLE_BYTES
    assert HandleCodec(SECRET).decode(handle) == file_id


@given(file_ids, st.integers(0, HANDLE_BYTES * 8 - 1))
def test_no_bit_of_a_handle_can_be_changed(file_id: FileId, bit: int) -> None:
    handle = bytearray(CODEC.encode(*file_id))
    handle[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Nfs3Error) as refused:
        CODEC.decode(bytes(handle))
    assert refused.value.status is Nfsstat3.NFS3ERR_STALE


def test_a_handle_of_another_secret_is_stale() -> None:
    with pytest.raises(Nfs3Error) as refused:
        HandleCodec(b"another secret..").decode(CODEC.encode(b"exportno", 2, 3))
    assert refused.value.status is Nfsstat3.NFS3ERR_STALE


@pytest.mark.parametrize("length", [0, 1, HANDLE_BYTES - 1, HANDLE_BYTES + 1, 64])
def test_what_was_never_a_handle_of_ours_is_a_bad_handle(length: int) -> None:
    with pytest.raises(Nfs3Error) as refused:
        CODEC.decode(bytes(length))
    assert refused.value.status is Nfsstat3.NFS3ERR_BADHANDLE


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_secret_that_protects_nothing_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes"):
        HandleCodec(bytes(length))


def test_export_keys_differ_by_path_and_by_secret_and_last() -> None:
    key = derived_export_key(SECRET, b"/t/v")
    assert key == derived_export_key(SECRET, b"/t/v")
    assert len({key, derived_export_key(SECRET, b"/t/w"), derived_export_key(b"x" * 16, b"/t/v")}) == 3
