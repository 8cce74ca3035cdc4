"""Canonical JSON, RFC 8785 (JCS): one value, one text, so that a signature over it means the value.

Keys are sorted by their UTF-16 code units (section 3.2.3), there is no white space, strings are escaped no more than
they have to be (3.2.2.2), numbers are written as ECMAScript writes them (3.2.2.3), all of it in UTF-8.

The rule to know: what two parsers could read differently is refused and never guessed: a key that is there twice, a
whole number that a double would change, half a surrogate pair, NaN (RFC 7493, I-JSON).
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any, Final

INTEGER_MAX: Final = 2**53 - 1
DEPTH_MAX: Final = 64


def canonical_json(value: Any) -> bytes:
    """ValueError: the value has no canonical form."""
    try:
        return _text(value, 0).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a string holds half a surrogate pair") from None


def parse_json(data: bytes) -> Any:
    """A JSON text that means one thing. ValueError says why it does not."""
    try:
        text = data.decode("utf-8")
        return json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _text(value: Any, depth: int) -> str:
    if depth > DEPTH_MAX:
        raise ValueError(f"it is nested deeper than {DEPTH_MAX}")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value) if abs(value) <= INTEGER_MAX else _number(_as_double(value))
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_text(key, 0)}:{_text(value[key], depth + 1)}" for key in keys) + "}"
    raise ValueError(f"{type(value).__name__} is nothing that JSON has")


def _number(value: float) -> str:
    """ECMAScript's Number::toString: the shortest digits that read back as the same double, which are Python's too."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is nothing that JSON has")
    if value == 0:
        return "0"
    sign, exact, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    digits = "".join(map(str, exact))
    point = len(digits) + exponent
    minus = "-" if sign else ""
    if len(digits) <= point <= 21:
        return f"{minus}{digits}{'0' * exponent}"
    if 0 < point <= 21:
        return f"{minus}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{minus}{digits[0]}{fraction}e{point - 1:+d}"


def _as_double(value: int) -> float:
    """As parsers read it that have doubles only, if they read the same number."""
    if value.bit_length() > 70 or _number(float(value)) != str(value):  # from 10^21 on doubles are written otherwise
        raise ValueError(f"a double would change a number of {value.bit_length()} bits: write it as a string")
    return float(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is nothing that JSON has")


def _whole(text: str) -> int | float:
    value = int(text)
    return value if abs(value) <= INTEGER_MAX else _as_double(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond what a double holds")
    return value
