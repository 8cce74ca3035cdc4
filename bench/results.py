"""What a run leaves in bench/results: JSON with every sample, a Markdown table, an SVG picture. Each appears whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write(
    name: str, machine: Mapping[str, str], settings: Mapping[str, Any], rows: Any, table: str, picture: str
) -> list[Path]:
    """Write `<name>.json`, `.md` and `.svg`, in place of those of an earlier run; returns them."""
    RESULTS.mkdir(exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"at": at, "machine": dict(machine), "settings": dict(settings), "rows": rows}
    facts = "\n".join(f"- {key}: {value}" for key, value in {"measured": at, **machine}.items() if value)
    return [
        _whole(RESULTS / f"{name}.json", json.dumps(report, indent=1) + "\n"),
        _whole(RESULTS / f"{name}.md", f"{facts}\n\n{table}\n"),
        _whole(RESULTS / f"{name}.svg", picture),
    ]


def _whole(path: Path, text: str) -> Path:
    draft = path.with_suffix(path.suffix + ".tmp")
    draft.write_text(text, "utf-8")
    draft.rename(path)
    return path
