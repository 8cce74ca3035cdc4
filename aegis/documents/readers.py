"""From a document's value to one of ours: what each kind may look like, and what is said when it does not.

A reader is a function from node to value with one name for what it wants (docs/manifest.md prints the same name). It
raises `Mistake`, which knows no path: the table that calls it does. Units are checked for plausibility, because
`cpu_quota: 1000` is valid YAML, a valid number, and never what was meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aegis.documents.nodes import Node, Scalar, Sequence, is_null, to_python
from aegis.documents.problems import nearest

WEEK_SECONDS = 7 * 24 * 3600
KIB = 1024
_SIZE_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE_UNITS |= {"Ki": KIB, "Mi": KIB**2, "Gi": KIB**3, "Ti": KIB**4}
_DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,12})")
_COMPOUND = re.compile(r"(?:[0-9]{1,9}[hms]){2,3}")


class Mistake(Exception):
    """A value that cannot be used. `found`: in place of the node's own description; `node`: the item of a list."""

    def __init__(self, wanted: str, hint: str = "", *, found: str = "", node: Node | None = None, index: int = -1):
        super().__init__(wanted)
        self.wanted = wanted
        self.hint = hint
        self.found = found
        self.node = node
        self.index = index  # which item of a list it is about; -1: the value itself


class Mistakes(Exception):
    """Several at once: the items of a list."""

    def __init__(self, all_of_them: list[Mistake]) -> None:
        super().__init__()
        self.all_of_them = all_of_them


@dataclass(frozen=True, slots=True)
class Reader:
    """`wanted`: how the value is named in messages and in the documentation."""

    wanted: str
    read: Callable[[Node], Any]


def _scalar(node: Node, wanted: str) -> Scalar:
    if not isinstance(node, Scalar):
        raise Mistake(wanted)
    return node


def _gotcha(scalar: Scalar) -> str:
    """Why YAML did not see the text that was written (YAML 1.1 section 10.2)."""
    if scalar.kind == "boolean":
        return f'YAML 1.1 reads {scalar.text} as a boolean; write "{scalar.text}"'
    if scalar.kind in ("integer", "number") and ":" in scalar.text:
        return f'YAML 1.1 reads {scalar.text} as a number to the base of 60; write "{scalar.text}"'
    if scalar.kind == "number" and scalar.text != str(scalar.value):
        return f'YAML reads {scalar.text} as the number {scalar.value}; write "{scalar.text}"'
    return f'YAML reads it as a {scalar.kind}; write "{scalar.text}"'


def text_of(node: Node, wanted: str = "text") -> str:
    """The text that was written, if YAML agrees that it is text."""
    scalar = _scalar(node, wanted)
    if scalar.kind == "string" or scalar.untyped:
        return scalar.text
    raise Mistake(wanted, _gotcha(scalar))


def text(wanted: str = "text", check: Callable[[str], str] | None = None, *, empty: bool = True) -> Reader:
    """Text. `check` gets it and returns it in its normal form, or raises Mistake."""

    def read(node: Node) -> str:
        value = text_of(node, wanted)
        if not empty and not value.strip():
            raise Mistake(wanted)
        return check(value) if check else value

    return Reader(wanted, read)


def matching(pattern: str, wanted: str, hint: str = "", *, characters_max: int = 255) -> Reader:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if len(value) > characters_max or not compiled.fullmatch(value):
            raise Mistake(wanted, hint)
        return value

    return text(wanted, check)


def _integer(node: Node) -> int:
    wanted = "a whole number"
    scalar = _scalar(node, wanted)
    if scalar.untyped and re.fullmatch(r"-?[0-9]{1,18}", scalar.text):
        return int(scalar.text)
    if scalar.kind != "integer":
        raise Mistake(wanted)
    if re.fullmatch(r"[-+]?0[0-7_]+", scalar.text) or ":" in scalar.text:
        raise Mistake(wanted, f"YAML 1.1 reads {scalar.text} as {scalar.value}; write the number in decimal")
    return int(scalar.value)


def _number(node: Node) -> float:
    wanted = "a number"
    scalar = _scalar(node, wanted)
    if scalar.untyped and re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", scalar.text):
        return float(scalar.text)
    if scalar.kind not in ("integer", "number") or ":" in scalar.text:
        raise Mistake(wanted)
    try:
        value = float(scalar.value)
    except OverflowError:
        raise Mistake(wanted) from None
    if not math.isfinite(value):
        raise Mistake("a finite number")
    return value


def _boolean(node: Node) -> bool:
    wanted = "true or false"
    scalar = _scalar(node, wanted)
    if scalar.untyped and scalar.text.lower() in ("true", "false"):
        return scalar.text.lower() == "true"
    if scalar.kind != "boolean":
        raise Mistake(wanted)
    return bool(scalar.value)


INTEGER = Reader("a whole number", _integer)
NUMBER = Reader("a number", _number)
BOOLEAN = Reader("true or false", _boolean)
TEXT = text()
ANYTHING = Reader("anything", to_python)


def choice(values: type[StrEnum] | Iterable[str], *, not_yet: Iterable[str] = ()) -> Reader:
    """One of some words, exactly as written here. `not_yet`: words that are right and that cannot be had today."""
    words = [str(value) for value in values]
    wanted = "one of " + ", ".join(words) if len(words) > 1 else words[0]
    later = frozenset(not_yet)

    def read(node: Node) -> str:
        scalar = _scalar(node, wanted)
        # A word that YAML makes a boolean (`mode: off`) is compared as it was written.
        if scalar.text in words:
            return scalar.text
        if scalar.text in later:
            raise Mistake(wanted, f"{scalar.text} is understood, and not available in this version")
        near = nearest(scalar.text, words)
        raise Mistake(wanted, f"did you mean {near}?" if near else "")

    return Reader(wanted, read)


def _cores(node: Node) -> float:
    value = _number(node)
    if value > 64:
        raise Mistake(
            "a number of cores, at most 64",
            f"{value:g} looks like millicores: write {value / 1000:g} here, or spec.security.resources.cpu: {value:g}",
        )
    return value


def _millicores(node: Node) -> float:
    wanted = "millicores (1000 is one core)"
    scalar = _scalar(node, wanted)
    quoted = re.fullmatch(r"([0-9]{1,7})m", scalar.text)
    if quoted:
        return int(quoted[1]) / 1000
    value = _number(node)
    if value > 64_000:
        raise Mistake(wanted, "more than 64 cores")
    if value < 10:
        raise Mistake(wanted, f"{value:g} looks like cores: write {max(value, 0) * 1000:g}")
    return value / 1000


def _quantity(node: Node, wanted: str, units: dict[str, float] | dict[str, int], hint: str) -> float | int:
    scalar = _scalar(node, wanted)
    if scalar.kind in ("integer", "number") and not scalar.untyped:
        return _integer(node) if scalar.kind == "integer" else _number(node)
    if scalar.kind != "string" and not scalar.untyped:
        raise Mistake(wanted, hint)
    match = _QUANTITY.fullmatch(scalar.text.strip())
    if match is None or match[2] not in units:
        raise Mistake(wanted, hint)
    number = float(match[1]) if "." in match[1] else int(match[1])
    return number * units[match[2]]


SIZE_WANTED = 'a size ("500Mi", "1Gi", "2G" or bytes)'


def _size(node: Node) -> int:
    hint = "Ki, Mi, Gi, Ti count in 1024s; k, M, G, T in 1000s; without a unit it is bytes"
    value = _quantity(node, SIZE_WANTED, _SIZE_UNITS, hint)
    if value != int(value):
        raise Mistake("whole bytes", hint)
    if value > 2**60:
        raise Mistake(SIZE_WANTED, "more than 1 EiB")
    return int(value)


def _memory(node: Node) -> int:
    value = _size(node)
    if value < 6 * KIB**2:
        wanted = "at least 6Mi (Docker's own minimum)"
        raise Mistake(wanted, f'{value} bytes: did you mean "{value}Mi"?' if value > 0 else "")
    return value


def _volume_size(node: Node) -> int:
    value = _size(node)
    if value < 4 * KIB:
        raise Mistake("at least 4Ki", f'{value} bytes: did you mean "{value}Mi"?' if value > 0 else "")
    return value


DURATION_WANTED = 'a time ("300s", "5m", "1h" or seconds)'


def _duration(node: Node) -> float:
    hint = "units are ms, s, m, h, d; without a unit it is seconds"
    if isinstance(node, Scalar) and ":" in node.text:
        raise Mistake(DURATION_WANTED, f'YAML 1.1 reads {node.text} to the base of 60; write "5m"')
    if isinstance(node, Scalar) and _COMPOUND.fullmatch(node.text):
        parts = re.findall(r"([0-9]+)([hms])", node.text)
        value = float(sum(int(number) * _DURATION_UNITS[unit] for number, unit in parts))
    else:
        value = float(_quantity(node, DURATION_WANTED, _DURATION_UNITS, hint))
    if value <= 0:
        raise Mistake("a time longer than zero")
    if value > WEEK_SECONDS:
        milliseconds = f"{value:g} looks like milliseconds: write {value / 1000:g}" if value >= 1000 else ""
        raise Mistake("a time of at most a week", milliseconds)
    return value


CORES = Reader("cores (1.0 is one core)", _cores)
MILLICORES = Reader("millicores (1000 is one core)", _millicores)
SIZE = Reader(SIZE_WANTED, _size)
MEMORY = Reader(SIZE_WANTED, _memory)
VOLUME_SIZE = Reader(SIZE_WANTED, _volume_size)
DURATION = Reader(DURATION_WANTED, _duration)


def _megabytes(node: Node) -> int:
    value = _integer(node)
    if not 0 < value <= 2**40:
        raise Mistake("megabytes, more than zero")
    return value * KIB**2


MEGABYTES = Reader("megabytes (MiB)", _megabytes)


def list_of(item: Reader, *, items_max: int = 1000) -> Reader:
    """A list; every bad item is reported. Where everything is text (an environment variable), commas separate."""
    wanted = f"a list of {item.wanted}"

    def read(node: Node) -> tuple[Any, ...]:
        if isinstance(node, Scalar) and node.untyped:
            parts = [part.strip() for part in node.text.split(",") if part.strip()]
            items: list[Node] = [Scalar(part, part, "string", 0, 0, untyped=True) for part in parts]
        elif isinstance(node, Sequence):
            items = node.items
        else:
            raise Mistake(wanted, "every item in a line of its own, after a dash")
        if len(items) > items_max:
            raise Mistake(f"at most {items_max} items")
        return _read_items(items, item)

    return Reader(wanted, read)


def _read_items(items: list[Node], item: Reader) -> tuple[Any, ...]:
    values, mistakes = [], []
    for index, node in enumerate(items):
        try:
            if is_null(node):
                raise Mistake(item.wanted)
            values.append(item.read(node))
        except Mistake as mistake:
            mistake.node, mistake.index = node, index
            mistakes.append(mistake)
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(values)
