"""Manifests for tests: the smallest valid one, and one key of it changed by its path."""

from __future__ import annotations

import copy
import itertools
import re
from typing import Any

import yaml

MINIMAL: dict[str, Any] = {
    "apiVersion": "100monkeys.ai/v1",
    "kind": "Agent",
    "metadata": {"name": "tester"},
    "spec": {"runtime": {"image": "busybox"}},
}
VOLUME: dict[str, Any] = {"name": "workspace", "mount_path": "/workspace"}


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at `spec.volumes[0].name`; what is on the way is made."""
    document = copy.deepcopy(document)
    parts: list[Any] = [int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path)]
    here: Any = document
    for part, following in itertools.pairwise(parts):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(part, int):
            here.extend({} for _ in range(part + 1 - len(here)))
            here = here[part]
        else:
            here = here.setdefault(part, empty)
    if isinstance(parts[-1], int):
        here.extend(None for _ in range(parts[-1] + 1 - len(here)))
    here[parts[-1]] = value
    return document


def text(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False)


def manifest(changes: dict[str, Any] | None = None, *, base: dict[str, Any] = MINIMAL) -> str:
    """The minimal manifest with values put at paths."""
    document = base
    for path, value in (changes or {}).items():
        document = put(document, path, value)
    return text(document)
