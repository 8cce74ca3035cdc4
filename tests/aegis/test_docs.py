"""The documents' examples and tables, held to the code they speak of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aegis import errors
from aegis.adapters.llm import ModelSettings
from aegis.adapters.llm.script import parse
from aegis.api import app, auth, problems, server, volumes  # noqa: F401 - their errors are subclasses below

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


def kinds(kind: type[errors.AegisError]) -> Iterator[type[errors.AegisError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from kinds(inner)


def test_the_models_of_the_document_are_settings() -> None:
    aliases = yaml.safe_load(blocks("models.md", "yaml")[0])["models"]
    assert {ModelSettings(**settings).provider for settings in aliases.values()} == {"openai", "anthropic", "script"}


def test_the_script_of_the_document_can_be_used() -> None:
    script = parse(blocks("models.md", "yaml")[1].encode(), "docs/models.md")
    assert [len(iteration.turns) for iteration in script.iterations] == [2, 2]


CALLERS = [
    kind
    for kind in kinds(errors.Refused)
    if kind.__module__.startswith(("aegis.errors", "aegis.api", "aegis.services.smcp"))
]


def test_what_the_page_of_smcp_says_in_javascript_is_canonical_json() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on this machine")
    [function] = blocks("smcp.md", "js")
    cases = json.loads((DOCS.parent / "tests" / "vectors" / "smcp" / "canonical.json").read_text())["canonical"]
    program = f"{function} const cases = {json.dumps(cases)};" + (
        "for (const {json, canonical: wanted} of cases)"
        " if (canonical(JSON.parse(json)) !== wanted) throw new Error(json + canonical(JSON.parse(json)));"
    )
    done = subprocess.run([node, "-e", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [errors.AegisError, *CALLERS], ids=lambda kind: kind.__name__)
def test_every_code_a_caller_can_meet_is_in_the_table_beside_its_status(kind: type[errors.AegisError]) -> None:
    row = re.search(rf"^\| {kind.status} \| .*`{kind.code}`", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert row is not None


def test_every_route_is_named_in_the_document() -> None:
    text = (DOCS / "api.md").read_text()
    for route in app.ROUTES:
        stem = "/".join(route.path.split("/{")[0].split("/")[:3])
        assert stem in text, route.path
