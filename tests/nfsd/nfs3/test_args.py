"""The hot decoders are the plain ones, only faster; and no bytes make them raise anything but `XdrError`."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from nfsd.errors import XdrError
from nfsd.nfs3 import args
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Proc, StableHow
from nfsd.nfs3.restypes import SIGNATURES
from nfsd.xdr import Struct, Unpacker
from tests.nfsd.nfs3.strategies import structs
from tests.nfsd.nfs3.test_types import ARGUMENTS

DECODERS: dict[Proc, Callable[[Any, int, int], Any]] = {
    proc: getattr(args, f"decode_{proc.name.lower()}") for proc in SIGNATURES
}

# What the decoders' tuples are, said in the structures of the specification.
PLAIN: dict[type, Callable[[Any], Any]] = {
    t.Object3Args: lambda a: a.object,
    t.Setattr3Args: lambda a: (a.object, a.new_attributes, a.guard and a.guard.ns),
    t.Diropargs3Args: lambda a: (a.what.dir, a.what.name),
    t.Access3Args: lambda a: (a.object, a.access),
    t.Read3Args: lambda a: (a.file, a.offset, a.count),
    t.Write3Args: lambda a: (a.file, a.offset, a.count, a.stable, a.data),
    t.Create3Args: lambda a: (a.where.dir, a.where.name, *a.how),
    t.Mkdir3Args: lambda a: (a.where.dir, a.where.name, a.attributes),
    t.Symlink3Args: lambda a: (a.where.dir, a.where.name, a.symlink_attributes, a.symlink_data),
    t.Mknod3Args: lambda a: (a.where.dir, a.where.name, *a.what),
    t.Rename3Args: lambda a: (a.from_.dir, a.from_.name, a.to.dir, a.to.name),
    t.Link3Args: lambda a: (a.file, a.link.dir, a.link.name),
    t.Readdir3Args: lambda a: (a.dir, a.cookie, a.cookieverf, a.count),
    t.Readdirplus3Args: lambda a: (a.dir, a.cookie, a.cookieverf, a.dircount, a.maxcount),
    t.Commit3Args: lambda a: (a.file, a.offset, a.count),
}


def tuples(value: Any) -> Any:
    """With `sattr3` as the hot decoders have it."""
    if isinstance(value, t.Sattr3):
        return tuple(getattr(value, field.name) for field in fields(value))
    return tuple(map(tuples, value)) if isinstance(value, tuple) else value


procs = some.sampled_from(sorted(SIGNATURES))


def plain(proc: Proc, data: bytes) -> Any:
    """What the specification makes of these bytes, the ones behind the arguments ignored; XdrError when nothing."""
    value = SIGNATURES[proc].arguments.unpack(Unpacker(data))
    if isinstance(value, t.Write3Args) and value.count != len(value.data):
        raise XdrError(0, "count")
    return tuples(PLAIN[type(value)](value))


@given(procs, some.data(), some.binary(max_size=5), some.binary(max_size=40))
def test_a_hot_decoder_reads_what_the_plain_one_reads(
    proc: Proc, data: some.DataObject, before: bytes, behind: bytes
) -> None:
    value = data.draw(structs(SIGNATURES[proc].arguments))
    buf = bytearray(before + bytes(value) + behind)
    assert DECODERS[proc](buf, len(before), len(buf) - len(behind)) == tuples(PLAIN[type(value)](value))


@given(procs, some.data(), some.binary(min_size=200, max_size=200))
def test_every_truncation_is_an_xdr_error_whatever_stands_behind_it(
    proc: Proc, data: some.DataObject, behind: bytes
) -> None:
    whole = bytes(data.draw(structs(SIGNATURES[proc].arguments)))
    length = data.draw(some.integers(0, len(whole) - 1))
    with pytest.raises(XdrError):
        DECODERS[proc](bytearray(whole[:length] + behind), 0, length)


@pytest.mark.parametrize("behind", [bytes(200), b"\xff" * 200])
@pytest.mark.parametrize(("proc", "value", "words"), ARGUMENTS, ids=lambda value: getattr(value, "name", ""))
def test_no_decoder_looks_beyond_the_end(proc: Proc, value: Struct, words: str, behind: bytes) -> None:
    whole = bytes(value)
    for length in range(len(whole)):
        with pytest.raises(XdrError):
            DECODERS[proc](bytearray(whole[:length] + behind), 0, length)


@given(procs, some.data())
def test_a_damaged_call_decodes_as_the_plain_codec_says(proc: Proc, data: some.DataObject) -> None:
    buf = bytearray(bytes(data.draw(structs(SIGNATURES[proc].arguments))))
    for _ in range(data.draw(some.integers(1, 4))):
        buf[data.draw(some.integers(0, len(buf) - 1))] = data.draw(some.sampled_from([0, 1, 2, 3, 255]))
    assert outcome(lambda: DECODERS[proc](buf, 0, len(buf))) == outcome(lambda: plain(proc, bytes(buf)))


@given(procs, some.binary(max_size=120))
@example(Proc.MKNOD, bytes(t.Diropargs3(b"", b"")) + bytes(4))
@example(Proc.CREATE, bytes(t.Diropargs3(b"", b"")) + b"\0\0\0\3")
def test_any_bytes_decode_as_the_plain_codec_says(proc: Proc, data: bytes) -> None:
    assert outcome(lambda: DECODERS[proc](data, 0, len(data))) == outcome(lambda: plain(proc, data))


def outcome(decode: Callable[[], Any]) -> Any:
    try:
        return decode()
    except XdrError:
        return XdrError


def test_write_data_is_a_view_of_the_record() -> None:
    buf = bytearray(bytes(t.Write3Args(b"h", 0, 4, StableHow.UNSTABLE, b"data")))
    data = args.decode_write(buf, 0, len(buf))[-1]
    buf[-4:] = b"DATA"
    assert data == b"DATA"


def test_write_with_another_count_than_data_is_refused() -> None:
    call = bytes(t.Write3Args(b"h", 0, 5, StableHow.UNSTABLE, b"data"))
    with pytest.raises(XdrError, match="count 5 equal to the length of data, found 4"):
        args.decode_write(call, 0, len(call))


def test_write_with_a_stable_how_nobody_knows_is_refused() -> None:
    call = bytearray(bytes(t.Write3Args(b"h", 0, 4, StableHow.FILE_SYNC, b"data")))
    call[23] = 3
    with pytest.raises(XdrError, match="stable_how, found 3"):
        args.decode_write(call, 0, len(call))


def test_handles_and_names_are_bytes_whatever_the_buffer() -> None:
    call = bytes(t.Diropargs3(b"handle", b"name"))
    for buf in (call, bytearray(call), memoryview(call)):
        assert [type(part) for part in args.decode_lookup(buf, 0, len(call))] == [bytes, bytes]


def test_exclusive_create_has_a_verifier_and_no_attributes() -> None:
    call = bytes(t.Create3Args(t.Diropargs3(b"h", b"n"), (Createmode3.EXCLUSIVE, None, b"verifier")))
    assert args.decode_create(call, 0, len(call)) == (b"h", b"n", 2, None, b"verifier")
