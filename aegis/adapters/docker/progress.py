"""A pull's many lines as few figures: bytes over all layers, several times a second at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from aegis.domain.images import PullProgress

_INTERVAL_SECONDS = 0.2  # Docker reports every half megabyte of every layer; listeners may store what they hear
_LAYERS_MAX = 512  # an image has at most 127; the names come from the peer
_DONE = {"Download complete", "Pull complete", "Already exists", "Verifying Checksum"}


class LayerProgress:
    """`take` every message; `tell` hears of every new phase, of progress in intervals, and of the end."""

    def __init__(self, image: str, tell: Callable[[PullProgress], None]) -> None:
        self._image = image
        self._tell = tell
        self._layers: dict[str, tuple[int, int]] = {}  # id -> bytes done, bytes in all (of the download)
        self._status = ""
        self._told_at = float("-inf")

    def take(self, message: Mapping[str, Any]) -> None:
        status = str(message.get("status") or "")
        if "id" in message:
            self._layer(str(message["id"]), status, message.get("progressDetail") or {})
        self._say(status)

    def finish(self) -> None:
        self._layers = {layer: (total, total) for layer, (_, total) in self._layers.items()}
        self._say("Pull complete", at_once=True)

    def _layer(self, layer: str, status: str, detail: Mapping[str, Any]) -> None:
        if layer not in self._layers and len(self._layers) >= _LAYERS_MAX:
            return
        _, total = self._layers.get(layer, (0, 0))
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current") or 0), int(detail["total"]))
        elif status in _DONE and total:
            self._layers[layer] = (total, total)

    def _say(self, status: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if not at_once and now - self._told_at < _INTERVAL_SECONDS:
            return
        self._told_at = now
        done = sum(done for done, _ in self._layers.values())
        total = sum(total for _, total in self._layers.values())
        self._tell(PullProgress(self._image, status, done, total or None))
