"""Reading what people write: YAML of several dialects into the one internal model, all problems of a file at once."""

from aegis.documents.agent import LoadedManifest, load_manifest
from aegis.documents.build import Row
from aegis.documents.problems import ConfigError, DocumentError, ManifestError, Note, Problem
from aegis.documents.source import read_bytes

__all__ = [
    "ConfigError",
    "DocumentError",
    "LoadedManifest",
    "ManifestError",
    "Note",
    "Problem",
    "Row",
    "load_manifest",
    "read_bytes",
]
