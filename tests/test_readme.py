"""The README keeps its word: its manifest is one, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aegis.documents import load_manifest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_manifest_is_understood_as_it_reads() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    manifest = load_manifest(text, "README.md").manifest
    assert manifest.runtime.image == "python:3.12-slim"
    assert manifest.resources.timeout_seconds == 300
    assert [volume.mount_path for volume in manifest.volumes] == ["/workspace"]
    assert [validator.type for validator in manifest.execution.validators] == ["script"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b((?:deploy|requirements|docs)/[\w./-]+\w)", README))))
def test_a_file_it_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()
