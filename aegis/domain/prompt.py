"""An agent's prompt from its template: the small part of Handlebars that manifests of the documents use.

`{{name}}`, and `{{#if name}} ... {{/if}}` (also `{{else}}`), not nested. Values go in as they are and are not
templates themselves, so that an input with braces in it stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

DEFAULT_TEMPLATE = (
    "{{instruction}}\n\n{{input}}\n"
    "{{#if previous_error}}\nThe previous attempt was judged and did not pass:\n{{previous_error}}\n{{/if}}"
)
VARIABLES = ("instruction", "input", "iteration_number", "previous_error", "agentskills", "context")
_IF = re.compile(r"\{\{#if ([A-Za-z_][\w.]*)\}\}(.*?)(?:\{\{else\}\}(.*?))?\{\{/if\}\}", re.DOTALL)
_TAG = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def check_template(template: str) -> str | None:
    """What is wrong with a template, or None."""
    rest = _IF.sub(lambda match: f"{{{{{match[1]}}}}}{match[2]}{match[3] or ''}", template)
    for match in _TAG.finditer(rest):
        if match[1] not in VARIABLES:
            return f"{{{{{match[1]}}}}} is none of {', '.join(VARIABLES)}"
    return None


def render_prompt(template: str | None, values: Mapping[str, str]) -> str:
    """The prompt of one iteration; a variable without a value is empty. One pass: a value is never read as template."""

    def choose(match: re.Match[str]) -> str:
        return match[2] if values.get(match[1]) else (match[3] or "")

    chosen = _IF.sub(choose, DEFAULT_TEMPLATE if template is None else template)
    return _TAG.sub(lambda match: values.get(match[1], ""), chosen).strip()
