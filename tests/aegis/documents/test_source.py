"""`documents.source`: any text becomes a tree with positions, or one DocumentError that says where it stopped."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aegis.documents.nodes import Mapping, Scalar, to_python
from aegis.documents.problems import DocumentError
from aegis.documents.source import DEPTH_MAX, SIZE_CHARACTERS_MAX, parse, read_bytes


def refusal(text: str) -> str:
    """What is found where reading stops."""
    with pytest.raises(DocumentError) as caught:
        parse(text, "f.yaml")
    return caught.value.problems[-1].found


def test_positions_count_from_one_and_point_at_key_and_value() -> None:
    root, problems = parse("a:\n  b: 17\n", "f.yaml")
    assert isinstance(root, Mapping)
    inner = root.entries["a"][1]
    assert isinstance(inner, Mapping)
    key, value = inner.entries["b"]
    assert (key.line, key.column, value.line, value.column) == (2, 3, 2, 6)
    assert problems == []


@pytest.mark.parametrize(
    ("written", "kind"),
    [("no", "boolean"), ("3.10", "number"), ("5:00", "integer"), ("~", "null"), ("2001-01-01", "timestamp")],
)
def test_a_scalar_keeps_what_was_written_beside_what_yaml_made_of_it(written: str, kind: str) -> None:
    root, _ = parse(written, "f.yaml")
    assert isinstance(root, Scalar)
    assert (root.text, root.kind) == (written, kind)


def test_a_key_written_twice_is_a_problem_that_names_the_first_line() -> None:
    root, problems = parse("a: 1\nb: 2\na: 3\n", "f.yaml")
    assert [(problem.line, problem.hint) for problem in problems] == [(3, "the first is in line 1")]
    assert to_python(root) == {"a": 1, "b": 2}


def test_a_key_that_yaml_reads_as_a_boolean_is_the_word_that_was_written() -> None:
    assert to_python(parse("on: 1\nno: 2\n", "f.yaml")[0]) == {"on": 1, "no": 2}


def test_an_alias_means_what_its_anchor_named() -> None:
    assert to_python(parse("a: &x [1, 2]\nb: *x\n", "f.yaml")[0]) == {"a": [1, 2], "b": [1, 2]}


def test_a_merge_gives_only_keys_that_are_not_there() -> None:
    assert to_python(parse("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n", "f.yaml")[0])["b"] == {"k": 1, "l": 3}


def test_aliases_that_expand_to_a_billion_values_are_refused() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert refusal("\n".join(lines)) == "more than 50000 values, aliases expanded"


def test_merges_that_expand_to_a_billion_values_are_refused() -> None:
    lines = ["l0: &l0 {a: 1, b: 2, c: 3}"]
    lines += [f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    assert refusal("\n".join(lines)) == "more than 50000 values, aliases expanded"


def test_an_alias_inside_of_what_it_names_is_refused() -> None:
    assert refusal("a: &x [*x]") == "*x inside of what it names"


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_refused_before_it_recurses(opening: str) -> None:
    assert refusal(opening * 10_000) == f"more than {DEPTH_MAX} levels"


def test_a_document_that_is_too_large_is_not_parsed() -> None:
    assert refusal("x" * (SIZE_CHARACTERS_MAX + 1)) == f"{SIZE_CHARACTERS_MAX + 1} characters"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "an empty file"),
        ("# only a remark\n", "an empty file"),
        ("a: 1\n---\nb: 2\n", 'a second document ("---")'),
        ("? [1, 2]\n: 3\n", "a list of 2 as a key"),
        ("a: *nowhere\n", "*nowhere"),
    ],
)
def test_what_is_not_one_document_is_refused(text: str, found: str) -> None:
    assert refusal(text) == found


def test_a_tab_is_refused_with_its_line_and_the_reason() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a:\n\tb: 1\n", "f.yaml")
    problem = caught.value.problems[0]
    assert (problem.line, problem.column) == (2, 1)
    assert problem.hint == "YAML is indented with spaces, never with tabs"


def test_an_unprintable_character_is_refused_with_its_place() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a: 1\nb: \x07\n", "f.yaml")
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (2, 4)


def test_bytes_that_are_not_utf_8_are_refused_with_line_and_column() -> None:
    with pytest.raises(DocumentError) as caught:
        read_bytes("a: 1\nb: ä".encode("latin-1"), "f.yaml")
    problem = caught.value.problems[0]
    assert (problem.line, problem.column, problem.found) == (2, 4, "the byte 0xe4")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read_bytes(b"\xef\xbb\xbfa: 1", "f.yaml") == "a: 1"


@pytest.mark.parametrize("value", ["!!python/object/apply:os.system [id]", "!mine x", "!!binary aGk="])
def test_tags_make_no_objects(value: str) -> None:
    _, problems = parse(f"a: {value}\n", "f.yaml")
    assert problems and problems[0].found.startswith("the tag ")


@pytest.mark.parametrize("value", ["2001-99-99", "!!int x", "0x_", "!!bool maybe", "!!float y", "9" * 5000])
def test_a_value_that_only_looks_like_its_type_is_a_problem(value: str) -> None:
    _, problems = parse(f"a: {value}\n", "f.yaml")
    assert [problem.path for problem in problems] == ["a"]


@pytest.mark.parametrize("value", ['"\\0"', '"\\uD800"'])
def test_escapes_do_not_bring_in_what_no_path_can_hold(value: str) -> None:
    _, problems = parse(f"a: {value}\n", "f.yaml")
    assert problems[0].found == "a NUL or half a surrogate pair"


YAML_LIKE = st.text(st.sampled_from("ab01 \n\t:-?,[]{}&*!|>'\"%@`#<=~.\\x_"), max_size=60)


@given(st.one_of(YAML_LIKE, st.text(max_size=60)))
@example('a: "\\UFFFFFFFF"')
@example("%YAML 99999999999999999999.1\n--- a")
@example("%TAG ! !\n--- !x a")
@example("a: !<> b")
@example("a: &x\n<<: *x")
@example("=")
@example("<<: [1]")
def test_any_text_is_a_tree_or_a_document_error(text: str) -> None:
    try:
        root, _ = parse(text, "f.yaml")
    except DocumentError as error:
        assert error.problems
        return
    to_python(root)
