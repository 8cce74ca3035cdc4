"""XDR (RFC 4506): the plain codec, and a way to write a protocol's structures down as the RFC does.

Plain means: one call a value, every length checked before memory is spent, nothing precompiled. It is the
specification; the hot codecs of `nfs3.args` and `nfs3.results` are held equal to it by a property test.

What is strict and what is not, and why:
- A bool other than 0 and 1 and an enum value outside its set are `XdrError` (RFC 4506 sections 4.3 and 4.4).
- Padding bytes must be there, but may hold anything: section 3 wants zeros of the *sender*; Linux nfsd, libtirpc and
  ganesha all skip them unread, and refusing a client for them would help nobody.
- Bytes after the last value are the caller's business; `done()` refuses them where they cannot be right.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import fields
from enum import IntEnum
from typing import Any, Generic, Protocol, Self, TypeVar, get_type_hints

from nfsd.errors import XdrError

Buffer = bytes | bytearray | memoryview

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)

_UINT32 = struct.Struct(">I")
_INT32 = struct.Struct(">i")
_UINT64 = struct.Struct(">Q")

UINT32_MAX = 0xFFFFFFFF
PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # indexed by length & 3


class Unpacker:
    """Reads values from `buf[offset:end]`, in order. Never looks beyond `end`; `offset` is where the next one begins.

    Every method raises `XdrError` when the value does not fit or is not one; the position is then undefined.
    """

    __slots__ = ("buf", "end", "offset")

    def __init__(self, buf: Buffer, offset: int = 0, end: int | None = None) -> None:
        self.buf = buf
        self.offset = offset
        self.end = len(buf) if end is None else end

    def _take(self, length: int, wanted: str) -> int:
        start = self.offset
        if length > self.end - start:
            raise XdrError(start, f"{wanted} of {length} bytes, {self.end - start} are left")
        self.offset = start + length
        return start

    def uint32(self) -> int:
        return int(_UINT32.unpack_from(self.buf, self._take(4, "unsigned int"))[0])

    def int32(self) -> int:
        return int(_INT32.unpack_from(self.buf, self._take(4, "int"))[0])

    def uint64(self) -> int:
        return int(_UINT64.unpack_from(self.buf, self._take(8, "unsigned hyper"))[0])

    def bool(self) -> bool:
        value = self.uint32()
        if value > 1:
            raise XdrError(self.offset - 4, f"bool 0 or 1, found {value}")
        return value == 1

    def enum(self, kind: type[E]) -> E:
        value = self.uint32()
        try:
            return kind(value)
        except ValueError:
            raise XdrError(self.offset - 4, f"{kind.__name__}, found {value}") from None

    def opaque_fixed(self, length: int) -> bytes:
        """`opaque x[length]`, a copy."""
        start = self._take(length + (-length & 3), "opaque")
        return bytes(self.buf[start : start + length])

    def opaque(self, maximum: int = UINT32_MAX) -> bytes:
        """`opaque x<maximum>` or `string x<maximum>`, a copy. Without a maximum the buffer's end is the bound."""
        length = self.uint32()
        if length > maximum:
            raise XdrError(self.offset - 4, f"at most {maximum} bytes, found {length}")
        return self.opaque_fixed(length)

    def optional(self, decode: Callable[[], T]) -> T | None:
        """`*x`, and any union of a bool and one value (post_op_attr, set_mode3)."""
        return decode() if self.bool() else None

    def array(self, decode: Callable[[], T], maximum: int) -> list[T]:
        """`x<maximum>`: a count, then that many values."""
        count = self.uint32()
        if count > maximum:
            raise XdrError(self.offset - 4, f"at most {maximum} elements, found {count}")
        return [decode() for _ in range(count)]

    def chain(self, decode: Callable[[], T], maximum: int) -> list[T]:
        """A linked list: each value behind a TRUE, FALSE after the last (entry3, mountlist)."""
        values: list[T] = []
        while self.bool():
            if len(values) == maximum:
                raise XdrError(self.offset - 4, f"at most {maximum} list elements")
            values.append(decode())
        return values

    def done(self) -> None:
        """Raise `XdrError` unless everything was read."""
        if self.offset != self.end:
            raise XdrError(self.offset, f"the end, {self.end - self.offset} bytes are left")


class Packer:
    """Appends values; `bytes()` is everything so far. A value out of range is our own mistake: `struct.error`."""

    __slots__ = ("_out",)

    def __init__(self) -> None:
        self._out = bytearray()

    def __bytes__(self) -> bytes:
        return bytes(self._out)

    def __len__(self) -> int:
        return len(self._out)

    def uint32(self, value: int) -> None:
        self._out += _UINT32.pack(value)

    def int32(self, value: int) -> None:
        self._out += _INT32.pack(value)

    def uint64(self, value: int) -> None:
        self._out += _UINT64.pack(value)

    def bool(self, value: bool) -> None:
        self._out += _UINT32.pack(1 if value else 0)

    def opaque_fixed(self, value: Buffer, length: int) -> None:
        if len(value) != length:
            raise ValueError(f"opaque[{length}] cannot hold {len(value)} bytes")
        self._out += value
        self._out += PADDING[length & 3]

    def opaque(self, value: Buffer) -> None:
        self.uint32(len(value))
        self.opaque_fixed(value, len(value))

    def optional(self, encode: Callable[[T], None], value: T | None) -> None:
        self.bool(value is not None)
        if value is not None:
            encode(value)

    def array(self, encode: Callable[[T], None], values: Sequence[T]) -> None:
        self.uint32(len(values))
        for value in values:
            encode(value)

    def chain(self, encode: Callable[[T], None], values: Sequence[T]) -> None:
        for value in values:
            self.bool(True)
            encode(value)
        self.bool(False)


# --- structures written down as the RFC does -------------------------------------------------------------------------


class Codec(Protocol[T]):
    """How one XDR type goes over the wire. Attached to a field by `Annotated[int, UINT32]`."""

    def pack(self, packer: Packer, value: T) -> None: ...

    def unpack(self, unpacker: Unpacker) -> T: ...


class Struct:
    """Base of a dataclass whose fields are, in order, the fields of an XDR struct.

    A field's type is another `Struct`, an `IntEnum`, or `Annotated[type, codec]`. `bytes(value)` encodes;
    `from_bytes` decodes exactly one and refuses what is left over.
    """

    __slots__ = ()

    def pack(self, packer: Packer) -> None:
        for name, codec in _layout(type(self)):
            codec.pack(packer, getattr(self, name))

    @classmethod
    def unpack(cls, unpacker: Unpacker) -> Self:
        return cls(*[codec.unpack(unpacker) for _, codec in _layout(cls)])

    def __bytes__(self) -> bytes:
        packer = Packer()
        self.pack(packer)
        return bytes(packer)

    @classmethod
    def from_bytes(cls, buf: Buffer) -> Self:
        unpacker = Unpacker(buf)
        value = cls.unpack(unpacker)
        unpacker.done()
        return value


S = TypeVar("S", bound=Struct)


_layouts: dict[type[Struct], tuple[tuple[str, Codec[Any]], ...]] = {}


def _layout(cls: type[Struct]) -> tuple[tuple[str, Codec[Any]], ...]:
    layout = _layouts.get(cls)
    if layout is None:
        hints = get_type_hints(cls, include_extras=True)
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # every subclass is a dataclass
        layout = _layouts[cls] = tuple((name, _codec(hints[name])) for name in names)
    return layout


def _codec(hint: Any) -> Codec[Any]:
    for extra in getattr(hint, "__metadata__", ()):
        return extra  # type: ignore[no-any-return]
    if issubclass(hint, Struct):
        return Nested(hint)
    if issubclass(hint, IntEnum):
        return Enum(hint)
    raise TypeError(f"{hint!r} has no XDR codec: annotate it")


class _Uint32:
    def pack(self, packer: Packer, value: int) -> None:
        packer.uint32(value)

    def unpack(self, unpacker: Unpacker) -> int:
        return unpacker.uint32()


class _Uint64:
    def pack(self, packer: Packer, value: int) -> None:
        packer.uint64(value)

    def unpack(self, unpacker: Unpacker) -> int:
        return unpacker.uint64()


class _Bool:
    def pack(self, packer: Packer, value: bool) -> None:
        packer.bool(value)

    def unpack(self, unpacker: Unpacker) -> bool:
        return unpacker.bool()


UINT32 = _Uint32()
UINT64 = _Uint64()
BOOL = _Bool()


class Nested(Generic[S]):
    """A struct as a field, an array's element or an optional's value."""

    def __init__(self, kind: type[S]) -> None:
        self._kind = kind

    def pack(self, packer: Packer, value: S) -> None:
        value.pack(packer)

    def unpack(self, unpacker: Unpacker) -> S:
        return self._kind.unpack(unpacker)


class Enum(Generic[E]):
    """An enum; a number outside it is an `XdrError`."""

    def __init__(self, kind: type[E]) -> None:
        self._kind = kind

    def pack(self, packer: Packer, value: E) -> None:
        packer.uint32(value)

    def unpack(self, unpacker: Unpacker) -> E:
        return unpacker.enum(self._kind)


class Fixed:
    """`opaque x[length]`."""

    def __init__(self, length: int) -> None:
        self._length = length

    def pack(self, packer: Packer, value: bytes) -> None:
        packer.opaque_fixed(value, self._length)

    def unpack(self, unpacker: Unpacker) -> bytes:
        return unpacker.opaque_fixed(self._length)


class Opaque:
    """`opaque x<maximum>` and `string x<maximum>`; the maximum is checked on the way in only, so that a test can
    send what a hostile client would."""

    def __init__(self, maximum: int = UINT32_MAX) -> None:
        self._maximum = maximum

    def pack(self, packer: Packer, value: bytes) -> None:
        packer.opaque(value)

    def unpack(self, unpacker: Unpacker) -> bytes:
        return unpacker.opaque(self._maximum)


class Optional(Generic[T]):
    """`*x`, or a union of a bool and one value; None is FALSE."""

    def __init__(self, codec: Codec[T]) -> None:
        self._codec = codec

    def pack(self, packer: Packer, value: T | None) -> None:
        packer.optional(lambda inner: self._codec.pack(packer, inner), value)

    def unpack(self, unpacker: Unpacker) -> T | None:
        return unpacker.optional(lambda: self._codec.unpack(unpacker))


class Array(Generic[T]):
    """`x<maximum>`."""

    def __init__(self, codec: Codec[T], maximum: int) -> None:
        self._codec = codec
        self._maximum = maximum

    def pack(self, packer: Packer, value: Sequence[T]) -> None:
        packer.array(lambda element: self._codec.pack(packer, element), value)

    def unpack(self, unpacker: Unpacker) -> tuple[T, ...]:
        return tuple(unpacker.array(lambda: self._codec.unpack(unpacker), self._maximum))


class Chain(Generic[T]):
    """A linked list, value after value."""

    def __init__(self, codec: Codec[T], maximum: int) -> None:
        self._codec = codec
        self._maximum = maximum

    def pack(self, packer: Packer, value: Sequence[T]) -> None:
        packer.chain(lambda element: self._codec.pack(packer, element), value)

    def unpack(self, unpacker: Unpacker) -> tuple[T, ...]:
        return tuple(unpacker.chain(lambda: self._codec.unpack(unpacker), self._maximum))
