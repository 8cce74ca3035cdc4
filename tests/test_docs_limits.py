"""docs/limits.md against the code: every bound is there, under its name and with its value, and nothing else is.

A bound is a public constant of a module that ends in `_MAX` or `_SECONDS`, and everything in `nfsd.limits`.
"""

from __future__ import annotations

import ast
import importlib
import re

from aegis.config.model import Limits
from tests.support.documents import DOCS, ROOT, tables

TABLES = [table for found in tables(DOCS / "limits.md").values() for table in found]

NO_BOUNDS = {
    "nfsd.limits.KIB": "a unit",
    "nfsd.limits.MIB": "a unit",
    "nfsd.xdr.UINT32_MAX": "what 32 bits hold",
}

_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "bytes": 1, "characters": 1, "": 1}
_UNITS = {**_SIZES, "ms": 0.001, "s": 1, "h": 3600, "days": 86_400}
_QUANTITY = re.compile(r"([0-9][0-9,.]*) ?([A-Za-z]*)")


def _value(text: str) -> float:
    """A value as the document writes it: `1,024`, `64 KiB`, `4 MiB + 1 KiB, in characters`, `0.2 s`, `2^63-1 bytes`."""
    if text.startswith("2^63-1"):
        return 2**63 - 1
    total = 0.0
    for part in text.partition(", in ")[0].split(" + "):
        found = _QUANTITY.fullmatch(part)
        assert found is not None, f"{text!r} is no value"
        total += float(found[1].replace(",", "")) * _UNITS[found[2]]
    return total


def _constants() -> dict[str, float]:
    found: dict[str, float] = {}
    for path in [*(ROOT / "nfsd").rglob("*.py"), *(ROOT / "aegis").rglob("*.py")]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for statement in ast.parse(path.read_bytes()).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            if isinstance(statement, ast.AnnAssign):
                targets = [statement.target]
            for target in targets:
                if isinstance(target, ast.Name) and _is_bound(module, target.id):
                    found[f"{module}.{target.id}"] = getattr(importlib.import_module(module), target.id)
    return found


def _is_bound(module: str, name: str) -> bool:
    if not name.isupper() or name.startswith("_") or f"{module}.{name}" in NO_BOUNDS:
        return False
    return module == "nfsd.limits" or name.endswith(("_MAX", "_SECONDS"))


def test_every_bound_of_the_code_is_documented_with_its_value_and_its_effect() -> None:
    rows = [row for table in TABLES for row in table if row[0].startswith(("nfsd.", "aegis."))]
    documented = {row[0]: _value(row[1]) for row in rows}
    assert len(documented) == len(rows), "a bound is listed once"
    assert [row[0] for row in rows if not row[2]] == [], "each says what happens when it is met"
    code = _constants()
    assert set(documented) == set(code)
    assert {name: value for name, value in documented.items() if value != code[name]} == {}


def test_the_settable_limits_of_a_node_are_documented_with_their_defaults() -> None:
    (table,) = [table for table in TABLES if table[0][0].startswith("limits.")]
    values = {row[0].removeprefix("limits."): row[1] for row in table}
    documented = {name: None if text == "as of all" else _value(text) for name, text in values.items()}
    assert documented == Limits().model_dump()
