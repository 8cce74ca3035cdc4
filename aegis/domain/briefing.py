"""What the model is told: the frame every iteration has, and the task of one of them (its form is `prompt.py`'s)."""

from __future__ import annotations

from collections.abc import Sequence

from aegis.domain.manifest import AccessMode, AgentManifest
from aegis.domain.prompt import render_prompt


def task_prompt(manifest: AgentManifest, text: str, number: int, feedback: str | None) -> str:
    """The task of iteration `number` (from 1); `feedback` is what the one before is to be bettered by."""
    values = {
        "instruction": manifest.instruction.strip(),
        "input": text.strip(),
        "iteration_number": number,
        "max_iterations": manifest.execution.max_iterations,
        "previous_error": feedback or "",
        "agent": {"name": manifest.name, "version": manifest.version, "description": manifest.description.strip()},
        "volumes": [
            {"name": each.name, "path": each.mount_path, "read_only": each.access_mode is AccessMode.READ_ONLY}
            for each in manifest.volumes
        ],
    }
    return render_prompt(manifest.prompt_template, values)


def system_prompt(manifest: AgentManifest, mount_paths: Sequence[str]) -> str:
    """The frame every iteration has, whatever the task."""
    described = [manifest.description.strip()] if manifest.description.strip() else []
    kept = ", ".join(mount_paths) or "none"
    return "\n".join(
        [
            f"You are {manifest.name}, an agent that works in a container of its own by calling tools.",
            *described,
            "When the task is done, answer without calling a tool: that answer is your result, and it is checked.",
            f"The container is thrown away after each attempt; only files below these directories stay: {kept}.",
        ]
    )
