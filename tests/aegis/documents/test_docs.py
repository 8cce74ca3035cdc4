"""docs/manifest.md and docs/configuration.md: their examples are read, their tables are those the code reads by."""

from __future__ import annotations

import re

import pytest
import yaml

from aegis.config.load import read_config
from aegis.config.registry import read_registry
from aegis.documents import load_manifest
from tests.support.manifests import MINIMAL, manifest
from tests.support.reference import DOCS, TABLES, replaced


def examples(name: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", examples("manifest.md"))
def test_the_manifests_of_the_documentation_are_read_without_a_note(text: str) -> None:
    assert load_manifest(text, "manifest.md").notes == ()


@pytest.mark.parametrize("text", examples("configuration.md"))
def test_the_configurations_of_the_documentation_are_read_without_a_note(text: str) -> None:
    if "kind: RuntimeRegistry" in text:
        assert read_registry(text, "configuration.md").notes == ()
    else:
        store = {"OPENBAO_ROLE_ID": "r", "OPENBAO_SECRET_ID": "s"}
        loaded = read_config(text, "configuration.md", store, base_directory="/", secrets=lambda settings: str)
        assert loaded.notes == ()


def test_the_security_contexts_of_the_documentation_are_read_in_both_places() -> None:
    [text] = examples("security-contexts.md")
    contexts = read_config(text, "security-contexts.md", {}, base_directory="/").config.security_contexts
    spec = {**MINIMAL["spec"], **yaml.safe_load(text), "security_context": "coder"}
    loaded = load_manifest(manifest({"spec": spec}), "security-contexts.md")
    assert (loaded.manifest.security_contexts, loaded.notes) == (contexts, ())


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_keys_are_current(name: str) -> None:
    document = (DOCS / name).read_text(encoding="utf-8")
    assert document == replaced(document, TABLES[name]()), "run: python -m tests.support.reference"
