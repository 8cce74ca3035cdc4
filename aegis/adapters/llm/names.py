"""Tool names as providers take them: ours have dots (`cmd.run`), theirs are `[a-zA-Z0-9_-]{1,64}`.

The mapping is made for one request and is one to one within it, so that every name that comes back is known.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

LENGTH_MAX = 64
FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


class ToolNames:
    """`wire(ours)` and `ours(wire)`. A name the model made up comes back as it is: the caller says there is no such
    tool, in words the model can read."""

    def __init__(self, names: Iterable[str]) -> None:
        self._wire: dict[str, str] = {}
        self._ours: dict[str, str] = {}
        for name in names:
            self._add(name)

    def _add(self, name: str) -> str:
        wire = FOREIGN.sub("_", name)[:LENGTH_MAX] or "_"
        if self._ours.get(wire, name) != name:  # two of ours would look the same to the model
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            wire = f"{wire[: LENGTH_MAX - 9]}_{digest}"
        self._wire[name], self._ours[wire] = wire, name
        return wire

    def wire(self, name: str) -> str:
        """Also for names of the conversation that are no tools any more."""
        return self._wire.get(name) or self._add(name)

    def ours(self, wire: str) -> str:
        return self._ours.get(wire, wire)
