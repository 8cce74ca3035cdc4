"""Templates of prompts: the part of Handlebars that prompts need, in the language's own words (docs/manifest.md).

`{{a.b}}`, `{{{a.b}}}` and `{{&a.b}}` (all three the same: a prompt is no HTML, nothing is escaped), `{{#if}}`,
`{{else if}}`, `{{else}}`, `{{#each}}` with `this`, `../`, `@index`, `@first`, `@last`, `@root`, comments, `\\{{` for a
literal one, `~` and standalone lines for white space. What differs from Handlebars: a list or an object put into the
text is JSON, and not `a,b` or `[object Object]`.

The rule to know: a template is parsed before its values are put in, so a value is never read as a template.
"""

from __future__ import annotations

from aegis.domain.templates.check import Shape, check
from aegis.domain.templates.errors import TemplateError
from aegis.domain.templates.parse import parse
from aegis.domain.templates.render import render

__all__ = ["Shape", "TemplateError", "check", "parse", "render"]
