"""Templates: the same as Handlebars makes of them, errors with their place, values that are never templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.domain.templates import Shape, TemplateError, check, parse, render
from aegis.domain.templates.render import CUT, RENDERED_CHARACTERS_MAX

VECTORS = json.loads(Path(__file__).with_name("handlebars.json").read_text())
SHAPE: dict[str, Shape] = {
    "input": None,
    "agent": {"name": None, "labels": {"team": None}},
    "files": [{"path": None, "lines": [None]}],
}


def rendered(template: str, **values: Any) -> str:
    return render(parse(template), values)


def refusal(template: str) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        check(parse(template), SHAPE)
    return caught.value


def test_every_vector_of_handlebars_gives_what_handlebars_gave() -> None:
    """A list put into the text is the one thing in which we differ on purpose."""
    differing = [
        (case["template"], case["result"], got)
        for case in VECTORS["cases"]
        if (got := rendered(case["template"], **VECTORS["values"])) != case["result"]
    ]
    assert differing == []
    assert len(VECTORS["cases"]) > 300


def test_a_list_or_an_object_in_the_text_is_json() -> None:
    assert rendered("{{a}} {{b}}", a=["x", 1], b={"k": "ü"}) == '["x", 1] {"k": "ü"}'


def test_nothing_is_escaped_because_a_prompt_is_no_html() -> None:
    assert rendered("{{a}}{{{a}}}{{&a}}", a="<&\"'`=>") == "<&\"'`=>" * 3


@pytest.mark.parametrize("body", ["{{this}}", ""])
def test_what_is_small_to_write_and_endless_to_make_ends_with_a_note(body: str) -> None:
    template = "{{#each @root.l}}" * 20 + body + "{{/each}}" * 20
    text = rendered(template, l=["x" * 1000] * 16)
    assert len(text) <= RENDERED_CHARACTERS_MAX + len(CUT)
    assert text.endswith(CUT)


@given(st.text(alphabet="{}#/!~@. ifeachlsnputhx\\\n"))
def test_any_text_is_a_template_or_an_error_with_a_place_in_it(source: str) -> None:
    try:
        render(parse(source), {"input": "x", "f": ["a"]})
    except TemplateError as error:
        assert 1 <= error.line <= source.count("\n") + 1
        assert 1 <= error.column <= len(source.split("\n")[error.line - 1]) + 1


@given(st.text(alphabet="{}#/ifelsnput "))
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert rendered("<{{input}}>", input=value, f="X") == f"<{value}>"
    assert rendered("{{#each l}}<{{this}}>{{/each}}", l=[value]) == f"<{value}>"


@given(st.text(alphabet="ab {}\n", max_size=30))
def test_text_behind_a_backslash_is_itself(text: str) -> None:
    assert rendered("\\{{" + text.replace("{{", "")) == "{{" + text.replace("{{", "")


@pytest.mark.parametrize(
    ("template", "place", "said"),
    [
        ("{{inptu}}", (1, 1), "there is no inptu, did you mean input?"),
        ("a\n b {{agent.nam}}", (2, 4), "there is no agent.nam, did you mean agent.name?"),
        ("{{zzz}}", (1, 1), "there are: input, agent, files"),
        ("{{#if input}}\nx", (1, 1), "{{#if}} is not closed by {{/if}}"),
        ("{{#each files}}{{#if path}}{{/each}}", (1, 28), "{{/each}} where {{#if}} of line 1 is to be closed"),
        ("x{{/if}}", (1, 2), "{{/if}} closes nothing"),
        ("{{else}}", (1, 1), "{{else}} without {{#if}} or {{#each}}"),
        ("{{#if input}}{{else}}{{else}}{{/if}}", (1, 22), "a second {{else}}"),
        ("{{#with agent}}{{/with}}", (1, 1), "there is no helper 'with'"),
        ("{{#eahc files}}{{/eahc}}", (1, 1), "did you mean each?"),
        ("{{upper input}}", (1, 1), "there is no helper 'upper'"),
        ("{{#if}}{{/if}}", (1, 1), "takes one path, found nothing"),
        ("{{#if input agent}}{{/if}}", (1, 1), "takes one path, found input agent"),
        ("{{}}", (1, 1), "found '', wanted a path"),
        ("{{a b!}}", (1, 1), "there is no helper 'a'"),
        ("{{> partial}}", (1, 1), "found '> partial', wanted a path"),
        ("\n{{input", (2, 1), "{{ is not closed by }}"),
        ("{{{input}}", (1, 1), "{{{ is not closed by }}}"),
        ("{{!-- x }}", (1, 1), "is not closed"),
        ("{{#each input}}{{/each}}", (1, 1), "input is no list"),
        ("{{files.path}}", (1, 1), "a list has no path; go through it with #each"),
        ("{{#each files}}{{input}}{{/each}}", (1, 16), "outside of the #each it is ../input"),
        ("{{../input}}", (1, 1), "leads out of the template's values"),
        ("{{@index}}", (1, 1), "@index is known within {{#each}} only"),
        ("{{@idnex}}", (1, 1), "there is no @idnex, did you mean index?"),
        ("{{#if input}}" * 40 + "{{/if}}" * 40, (1, 417), "deeper than 32"),
        ("x" * 70_000, (1, 1), "wanted at most 65536"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_column(template: str, place: tuple[int, int], said: str) -> None:
    error = refusal(template)
    assert said in str(error)
    assert (error.line, error.column) == place


@pytest.mark.parametrize(
    "template",
    [
        "{{#each files}}{{path}}{{this.path}}{{../agent.name}}{{@root.input}}{{@index}}{{/each}}",
        "{{#each files}}{{#each lines}}{{this}}{{@last}}{{../path}}{{../../input}}{{/each}}{{/each}}",
        "{{files.0.path}}{{files.length}}{{#if files}}{{else if agent.labels.team}}{{/if}}\\{{nope}}{{! nope }}",
    ],
)
def test_what_exists_is_accepted_wherever_it_is_reached_from(template: str) -> None:
    check(parse(template), SHAPE)
