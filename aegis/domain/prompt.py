"""An agent's prompt from its template (`aegis.domain.templates`): what a manifest may name in it, and the default."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from aegis.domain.templates import Shape, check, parse, render
from aegis.domain.templates.parse import Template

DEFAULT_TEMPLATE = (
    "{{instruction}}\n\n{{input}}\n"
    "{{#if previous_error}}\nThe previous attempt was judged and did not pass:\n{{previous_error}}\n{{/if}}"
)
SHAPE: Final[Mapping[str, Shape]] = {
    "instruction": None,
    "input": None,
    "iteration_number": None,
    "previous_error": None,
    "agentskills": None,
    "context": None,
    "max_iterations": None,
    "agent": {"name": None, "version": None, "description": None},
    "volumes": [{"name": None, "path": None, "read_only": None}],
}
"""`agentskills` and `context` are words of the documents and always empty here."""


def check_template(template: str, shape: Mapping[str, Shape] = SHAPE) -> str | None:
    """What is wrong with a template, with its line and column, or None."""
    try:
        check(parse(template), shape)
    except ValueError as error:
        return str(error)
    return None


def render_prompt(template: str | None, values: Mapping[str, Any]) -> str:
    """The prompt of one iteration; a variable without a value is empty."""
    return render(_parsed(DEFAULT_TEMPLATE if template is None else template), values).strip()


@lru_cache(maxsize=256)
def _parsed(source: str) -> Template:
    return parse(source)
