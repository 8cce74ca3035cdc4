"""Prompt templates: variables, conditions, and values that are never templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.domain.prompt import DEFAULT_TEMPLATE, check_template, render_prompt


@pytest.mark.parametrize(
    ("template", "values", "prompt"),
    [
        ("{{instruction}}: {{ input }}", {"instruction": "do", "input": "it"}, "do: it"),
        ("a{{input}}b", {}, "ab"),
        ("{{#if input}}yes{{else}}no{{/if}}", {"input": "x"}, "yes"),
        ("{{#if input}}yes{{else}}no{{/if}}", {}, "no"),
        ("{{#if previous_error}}failed: {{previous_error}}{{/if}}", {"previous_error": "e"}, "failed: e"),
        ("{{#if previous_error}}failed{{/if}}", {"previous_error": ""}, ""),
    ],
)
def test_a_template_is_filled_in(template: str, values: dict[str, str], prompt: str) -> None:
    assert check_template(template) is None
    assert render_prompt(template, values) == prompt


def test_without_a_template_the_first_iteration_gets_instruction_and_input_only() -> None:
    values = {"instruction": "write", "input": "primes", "previous_error": ""}
    assert render_prompt(None, values) == "write\n\nprimes"


def test_without_a_template_a_later_iteration_is_told_what_failed() -> None:
    assert "exit code 1" in render_prompt(None, {"instruction": "write", "previous_error": "exit code 1"})


@given(st.text(alphabet="{}#/ifelsnput "))
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert render_prompt("<{{input}}>", {"input": value, "f": "X"}) == f"<{value}>"


def test_a_variable_that_does_not_exist_is_named() -> None:
    assert "there is no name" in (check_template("{{#if input}}{{name}}{{/if}}") or "")
    assert check_template("{{#if name}}x{{/if}}") is not None
    assert check_template("{{#if input}}never closed") is not None
    assert check_template(DEFAULT_TEMPLATE) is None
