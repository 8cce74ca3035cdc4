"""Images as the engine's host has them, and on their way there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image on the engine's host: what a container is made from, whatever its names come to mean later."""

    id: str  # "sha256:...", of its configuration
    architecture: str = ""  # as Docker calls it: amd64, arm64, ...; "" where the image does not say
    digests: tuple[str, ...] = ()  # "name@sha256:...", as registries know it; none for what was built or loaded here


@dataclass(frozen=True, slots=True)
class PullProgress:
    image: str
    status: str
    bytes_done: int
    bytes_total: int | None
