"""Canonical JSON and what is signed: the vectors, properties, and what node makes of the same values."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis import smcp_client
from aegis.domain.canonical import INTEGER_MAX, canonical_json, parse_json
from aegis.domain.smcp import decode_bytes, encode_bytes
from tests.support import smcp_vectors
from tests.support.smcp_vectors import DIRECTORY, FILES, text

VECTORS = json.loads((DIRECTORY / "canonical.json").read_text())
NODE = shutil.which("node")
# RFC 8785 in the words of its own section 3.2: sort() is by UTF-16 code units, and the rest is JSON.stringify's.
CANONICAL_IN_NODE = """
const write = (value) => Array.isArray(value) ? "[" + value.map(write).join(",") + "]"
  : value !== null && typeof value === "object"
  ? "{" + Object.keys(value).sort().map((key) => JSON.stringify(key) + ":" + write(value[key])).join(",") + "}"
  : JSON.stringify(value);
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(texts.map((text) => write(JSON.parse(text)))));
"""

integers = st.integers(-INTEGER_MAX, INTEGER_MAX)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


def shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(sorted(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", FILES)
def test_the_vectors_are_current(name: str) -> None:
    assert (DIRECTORY / name).read_text() == text(name), "run: python -m tests.support.smcp_vectors"


@pytest.mark.parametrize("case", VECTORS["canonical"], ids=lambda case: case["name"])
def test_a_value_has_the_canonical_form_of_the_vectors(case: dict[str, str]) -> None:
    assert canonical_json(parse_json(case["json"].encode())) == case["canonical"].encode()
    assert canonical_json(parse_json(case["canonical"].encode())) == case["canonical"].encode()


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_what_could_be_read_differently_is_refused(case: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical_json(parse_json(case["json"].encode()))


@pytest.mark.parametrize(
    "value", [{1: 2}, {"a": b"x"}, [object()], 2**53 + 1, 2**2000, float("nan"), "\ud800", {"\udfff": 1}]
)
def test_what_json_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical_json(value)


@given(values, st.data())
def test_the_order_of_keys_changes_nothing(value: Any, data: st.DataObject) -> None:
    assert canonical_json(shuffled(value, data.draw)) == canonical_json(value)


@given(values)
def test_the_canonical_form_says_the_same_value_and_is_its_own(value: Any) -> None:
    canonical = canonical_json(value)
    assert parse_json(canonical) == value
    assert canonical_json(json.loads(canonical)) == canonical
    assert b": " not in canonical_json({"": value})[:4]


@given(values)
def test_the_clients_canonical_form_is_ours(value: Any) -> None:
    assert smcp_client.canonical_json(value) == canonical_json(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try:
        value = parse_json(data)
    except ValueError:
        return
    assert value is None or isinstance(value, bool | int | float | str | list | dict)


@pytest.mark.skipif(NODE is None, reason="node is not on this machine; the vectors still hold what it said")
def test_node_writes_the_same_canonical_form() -> None:
    inputs = [case["json"] for case in VECTORS["canonical"]]
    inputs += [repr(number) for number in _awkward_numbers()]
    done = subprocess.run([str(NODE), "-e", CANONICAL_IN_NODE], input=json.dumps(inputs).encode(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [canonical_json(parse_json(text.encode())).decode() for text in inputs]


def _awkward_numbers() -> list[float]:
    """Where shortest forms change their shape: powers of ten and of two, and their neighbours."""
    found = [10.0**n for n in range(-30, 31)] + [2.0**n for n in range(-60, 61, 7)]
    found += [
        float(f"{mantissa}e{n}") for mantissa in ("1.25", "-9.999999999999999", "123456789.5") for n in range(-9, 24)
    ]
    return found


@given(st.binary(min_size=64, max_size=64), st.data())
def test_bytes_are_written_in_one_way_only(data: bytes, draws: st.DataObject) -> None:
    written = encode_bytes(data)
    assert decode_bytes(written, 64) == data
    at = draws.draw(st.integers(0, len(written) - 1))
    other = draws.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda each: each != written[at]))
    try:
        assert decode_bytes(written[:at] + other + written[at + 1 :], 64) != data
    except ValueError:
        pass
    for wrong in (written + "=", written[:-1], written + "A", written + "ü"):
        with pytest.raises(ValueError, match=r".+"):
            decode_bytes(wrong, 64)


def test_the_vectors_key_is_the_one_of_rfc_8032() -> None:
    expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert decode_bytes(smcp_vectors.public("alice"), 32).hex() == expected
