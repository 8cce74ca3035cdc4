"""`spec.execution.validation`: the rows of both its forms, and how their values are read.

The list is our own form; the map (`system`, `output`, `script`, `semantic`) is the documents' and becomes the same list
(`agent_derive.py`). What has to be true of more than one key is in `agent_judges.py`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import jsonschema
from jsonschema.exceptions import SchemaError

from aegis.documents.names import CONTAINER_PATH, NAME
from aegis.documents.nodes import Node, Scalar, to_python
from aegis.documents.readers import (
    BOOLEAN,
    DURATION,
    INTEGER,
    NUMBER,
    TEXT,
    Mistake,
    Reader,
    choice,
    list_of,
    text,
)
from aegis.documents.table import Dialect, Field
from aegis.domain.judging import CRITERIA_SHAPE
from aegis.domain.manifest import ConsensusMode
from aegis.domain.prompt import SHAPE, check_template
from aegis.domain.templates import Shape

DOCUMENTS = Dialect.DOCUMENTS
PATTERN_CHARACTERS_MAX = 4096


def template(shape: Mapping[str, Shape] = SHAPE) -> Reader:
    """A template that names nothing but what `shape` has."""

    def check(value: str) -> str:
        wrong = check_template(value, shape)
        if wrong:
            raise Mistake("a template", wrong)
        return value

    return text("a template", check)


def _schema(node: Node) -> dict[str, Any] | bool:
    wanted = "a JSON Schema (draft 2020-12)"
    if isinstance(node, Scalar) and node.kind != "boolean":
        raise Mistake(wanted)
    schema = to_python(node)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f"[{part!r}]" for part in error.absolute_path)
        raise Mistake(wanted, f"{place or 'the schema'}: {error.message[:200]}") from None
    except (RecursionError, re.error, OverflowError) as error:
        raise Mistake(wanted, f"{type(error).__name__}: {error}"[:200]) from None
    if not isinstance(schema, dict):
        raise Mistake(wanted, "write {} for any JSON")
    return schema


def _regex(value: str) -> str:
    wanted = "a regular expression (Python's re)"
    if len(value) > PATTERN_CHARACTERS_MAX:
        raise Mistake(wanted, f"at most {PATTERN_CHARACTERS_MAX} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set": a remark about the pattern, not a refusal
            re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise Mistake(wanted, str(error)[:200]) from None
    return value


def _command(value: str) -> str:
    if not value or "\0" in value:
        raise Mistake("a program or an argument")
    return value


_ARGV = list_of(text("arguments", _command))


def _argv(node: Node) -> tuple[str, ...]:
    """Never a shell string: what is one word may stand alone."""
    if isinstance(node, Scalar) and node.kind == "string":
        if len(node.text.split()) != 1:
            words = ", ".join(f'"{word}"' for word in node.text.split()[:8])
            raise Mistake("a list of arguments", f"commands are not run by a shell: [{words}]")
        return (node.text,)
    arguments: tuple[str, ...] = _ARGV.read(node)
    if not arguments:
        raise Mistake("a program and its arguments")
    return arguments


def _target(value: str) -> str | None:
    """What a validator looks at: the final response (`stdout` in the documents), or a file of the workspace."""
    if value == "stdout":
        return None
    if value == "stderr":
        raise Mistake("stdout or a path", "a validator of stderr is understood, and not available in this version")
    path: str = CONTAINER_PATH.read(Scalar(value, value, "string", 0, 0))
    return path


SCHEMA = Reader("a JSON Schema", _schema)
CRITERIA = template(CRITERIA_SHAPE)
REGEX = text("a regular expression", _regex)
ARGV = Reader('a list of arguments (["python3", "check.py"])', _argv)
TARGET = Reader("stdout or a path", lambda node: _target(text("stdout or a path").read(node)))
TARGETS = list_of(TARGET, items_max=16)
SCORE = NUMBER
_VALIDATORS = ("exit_code", "json_schema", "regex", "script", "semantic", "multi_judge")

_V = "spec.execution.validation"
_OF_JUDGES = "semantic, multi_judge"
VALIDATION = (
    Field(
        f"{_V}[].type",
        "execution.validators[].type",
        choice(_VALIDATORS),
        "Which validator. The cheap ones are asked first, until one says no.",
    ),
    Field(f"{_V}[].min_score", "execution.validators[].min_score", SCORE, "The score it takes to pass, 0 to 1."),
    Field(f"{_V}[].expected", "execution.validators[].expected", INTEGER, "exit_code: the code that passes."),
    Field(f"{_V}[].schema", "execution.validators[].json_schema", SCHEMA, "json_schema: what the JSON must satisfy."),
    Field(f"{_V}[].pattern", "execution.validators[].pattern", REGEX, "regex: what is searched."),
    Field(f"{_V}[].must_match", "execution.validators[].must_match", BOOLEAN, "regex: false: must not be found."),
    Field(
        f"{_V}[].target",
        "execution.validators[].target",
        TARGET,
        "stdout (the final response) or the path of a file; not of exit_code and script.",
    ),
    Field(f"{_V}[].command", "execution.validators[].command", ARGV, "script: run in a fresh container; 0 passes."),
    Field(
        f"{_V}[].timeout_seconds",
        "execution.validators[].timeout_seconds",
        DURATION,
        "script, judges: at most this long.",
    ),
    Field(f"{_V}[].criteria", "execution.validators[].criteria", CRITERIA, f"{_OF_JUDGES}: what is asked; a template."),
    Field(
        f"{_V}[].targets",
        "execution.validators[].targets",
        TARGETS,
        f"{_OF_JUDGES}: files the judges are shown, beside the final response. `target` for one.",
    ),
    Field(f"{_V}[].min_confidence", "execution.validators[].min_confidence", SCORE, f"{_OF_JUDGES}: how sure, 0 to 1."),
    Field(
        f"{_V}[].fallback_on_unavailable",
        "execution.validators[].fallback_on_unavailable",
        BOOLEAN,
        f"{_OF_JUDGES}: true: it passes when too few judges could be asked.",
    ),
    Field(f"{_V}[].model", "execution.validators[].judge.model_alias", TEXT, "semantic: the model that judges."),
    Field(
        f"{_V}[].judge_agent", "execution.validators[].judge.agent", NAME, "semantic: the deployed agent that judges."
    ),
    Field(f"{_V}[].judges[]", "~judges[][]", NAME, "multi_judge: a deployed agent, or the keys below."),
    Field(f"{_V}[].judges[].agent", "execution.validators[].judges[].agent", NAME, "The deployed agent that judges."),
    Field(f"{_V}[].judges[].model", "execution.validators[].judges[].model_alias", TEXT, "The model that judges."),
    Field(f"{_V}[].judges[].name", "execution.validators[].judges[].name", NAME, "What verdicts call it."),
    Field(f"{_V}[].judges[].weight", "execution.validators[].judges[].weight", NUMBER, "Among the others; 1."),
    Field(f"{_V}[].judges[].criteria", "execution.validators[].judges[].criteria", CRITERIA, "Its own criteria."),
    Field(
        f"{_V}[].consensus",
        "execution.validators[].consensus",
        choice(ConsensusMode),
        "multi_judge: how several opinions become one.",
    ),
    Field(f"{_V}[].n", "execution.validators[].n", INTEGER, "multi_judge with best_of_n: how many count."),
    Field(
        f"{_V}[].min_judges_required",
        "execution.validators[].min_judges_required",
        INTEGER,
        "multi_judge: so many have to answer; else more than half, all for unanimous, n for best_of_n.",
    ),
    Field(f"{_V}.system.must_succeed", "~system.must_succeed", BOOLEAN, "true: as exit_code with 0.", DOCUMENTS),
    Field(
        f"{_V}.system.allow_stderr",
        "",
        BOOLEAN,
        "stderr is not judged: commands run by dispatch, and the model reads what they write",
        DOCUMENTS,
        noted=True,
    ),
    Field(
        f"{_V}.system.timeout_seconds",
        "~system.timeout_seconds",
        DURATION,
        "One iteration; the smaller one counts where the iteration's own limit is given too.",
        DOCUMENTS,
    ),
    Field(
        f"{_V}.output.format",
        "~output.format",
        choice(["json", "text"], not_yet=("yaml", "csv", "pdf")),
        "json: as json_schema.",
        DOCUMENTS,
    ),
    Field(f"{_V}.output.schema", "~output.schema", SCHEMA, "As json_schema.", DOCUMENTS),
    Field(f"{_V}.output.regex", "~output.regex", REGEX, "As regex.", DOCUMENTS),
    Field(f"{_V}.script.path", "~script.path", CONTAINER_PATH, "As script.", DOCUMENTS),
    Field(f"{_V}.script.description", "", TEXT, "For people.", DOCUMENTS),
    Field(f"{_V}.script.timeout_seconds", "~script.timeout_seconds", DURATION, "At most this long.", DOCUMENTS),
    Field(f"{_V}.semantic.enabled", "~semantic.enabled", BOOLEAN, "false: as if it were not there.", DOCUMENTS),
    Field(f"{_V}.semantic.model", "~semantic.model", TEXT, "As semantic.", DOCUMENTS),
    Field(f"{_V}.semantic.prompt", "~semantic.prompt", CRITERIA, "As its criteria.", DOCUMENTS),
    Field(f"{_V}.semantic.threshold", "~semantic.threshold", SCORE, "As its min_score.", DOCUMENTS),
    Field(f"{_V}.semantic.timeout_seconds", "~semantic.timeout_seconds", DURATION, "At most this long.", DOCUMENTS),
    Field(
        f"{_V}.semantic.fallback_on_unavailable",
        "~semantic.fallback_on_unavailable",
        BOOLEAN,
        "true: it passes when the judge could not be asked.",
        DOCUMENTS,
    ),
)
