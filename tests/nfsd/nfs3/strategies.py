"""Random values of any structure of `nfs3.types`, made from its fields' own codecs."""

from dataclasses import fields
from enum import IntEnum
from typing import Any, get_type_hints

from hypothesis import strategies as some

from nfsd import xdr
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3

uint32s = some.integers(0, 2**32 - 1)
uint64s = some.integers(0, 2**64 - 1)
names = some.binary(max_size=300)
set_times = some.none() | some.just(t.SERVER_TIME) | some.integers(0, 2**32 * t.NS - 1)

sattrs = some.builds(
    t.Sattr3,
    some.none() | uint32s,
    some.none() | uint32s,
    some.none() | uint32s,
    some.none() | uint64s,
    set_times,
    set_times,
)
createhows = some.one_of(
    some.tuples(some.sampled_from([Createmode3.UNCHECKED, Createmode3.GUARDED]), sattrs, some.none()),
    some.tuples(some.just(Createmode3.EXCLUSIVE), some.none(), some.binary(min_size=8, max_size=8)),
)
mknoddatas = some.one_of(
    some.tuples(some.sampled_from([Ftype3.NF3BLK, Ftype3.NF3CHR]), sattrs, some.builds(t.Specdata3, uint32s, uint32s)),
    some.tuples(some.sampled_from([Ftype3.NF3SOCK, Ftype3.NF3FIFO]), sattrs, some.none()),
    some.tuples(some.sampled_from([Ftype3.NF3REG, Ftype3.NF3DIR, Ftype3.NF3LNK]), some.none(), some.none()),
)


def structs(kind: type[xdr.Struct]) -> some.SearchStrategy[Any]:
    if kind is t.Sattr3:
        return sattrs
    hints = get_type_hints(kind, include_extras=True)
    parts = [_values(hints[field.name]) for field in fields(kind)]  # type: ignore[arg-type]
    if kind is t.Write3Args:  # count says again how long data is
        return some.tuples(*parts).map(lambda v: t.Write3Args(v[0], v[1], len(v[4]), v[3], v[4]))
    return some.builds(kind, *parts)


def _values(hint: Any) -> some.SearchStrategy[Any]:
    codec = getattr(hint, "__metadata__", (None,))[0]
    return _nested(hint) if codec is None else _coded(codec)


def _nested(kind: Any) -> some.SearchStrategy[Any]:
    return some.sampled_from(kind) if issubclass(kind, IntEnum) else structs(kind)


def _coded(codec: Any) -> some.SearchStrategy[Any]:
    match codec:
        case xdr.Optional():
            return some.none() | _coded(codec._codec)
        case xdr.Nested() | xdr.Enum():
            return _nested(codec._kind)
        case xdr.Fixed():
            return some.binary(min_size=codec._length, max_size=codec._length)
        case xdr.Opaque():
            return some.binary(max_size=min(codec._maximum, 300))
        case xdr.Array() | xdr.Chain():
            return some.lists(_coded(codec._codec), max_size=4).map(tuple)
        case t._SetTime():
            return set_times
        case t._Createhow3():
            return createhows
        case t._Mknoddata3():
            return mknoddatas
        case xdr.UINT32:
            return uint32s
        case xdr.UINT64:
            return uint64s
        case xdr.BOOL:
            return some.booleans()
    raise TypeError(codec)
