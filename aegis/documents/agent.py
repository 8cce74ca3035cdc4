"""Agent manifests: YAML of either dialect in, `AgentManifest` and the story of every value out."""

from __future__ import annotations

from dataclasses import dataclass

from aegis.documents import agent_checks, agent_derive
from aegis.documents.agent_table import AGENT_TABLE, FROM_CONFIG
from aegis.documents.build import Row, build, explain
from aegis.documents.problems import DocumentError, ManifestError, Note
from aegis.documents.source import parse
from aegis.documents.table import Walk
from aegis.domain.manifest import AgentManifest


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """`explanation`: every value of the manifest and where it came from, in the model's order. `notes`: keys that were
    accepted and have no effect here."""

    manifest: AgentManifest
    explanation: tuple[Row, ...]
    notes: tuple[Note, ...] = ()


def load_manifest(text: str, source: str) -> LoadedManifest:
    """Read a manifest. `source` names it in messages (a file's name, "the request").

    ManifestError with every problem of the file at once; nothing else, whatever the text is.
    """
    try:
        root, problems = parse(text, source)
    except DocumentError as error:
        raise ManifestError(source, error.problems, text) from None
    reading = Walk(AGENT_TABLE, source).read(root)
    agent_derive.derive(reading)
    agent_checks.check(reading)
    manifest = build(AgentManifest, AGENT_TABLE, reading)
    problems = [*problems, *reading.problems]
    if problems or manifest is None:
        raise ManifestError(source, problems, text)
    return LoadedManifest(manifest, explain(manifest, reading, FROM_CONFIG), tuple(reading.notes))
