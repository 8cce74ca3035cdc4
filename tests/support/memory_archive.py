"""An engine's images as bytes by name, archived and loaded as the real one does: all of an archive, or nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from aegis.domain.images import LocalImage
from aegis.domain.manifest import PullPolicy
from aegis.errors import ImageNotFound, WorldError


class MemoryArchive:
    def __init__(self, **images: bytes) -> None:
        self.images = {name.replace("_", ":"): content for name, content in images.items()}
        self.breaks_off_after: int | None = None  # so many bytes of an archive

    async def ensure_image(self, image: str, policy: PullPolicy) -> LocalImage:
        if image not in self.images:
            raise ImageNotFound(f"There is no image {image}")
        return LocalImage(f"sha256:of-{image}", "amd64", ())

    async def save_images(self, images: Sequence[str]) -> AsyncIterator[bytes]:
        archive = json.dumps({name: self.images[name].hex() for name in images}).encode()
        for at in range(0, len(archive), 1000):
            if self.breaks_off_after is not None and at >= self.breaks_off_after:
                raise WorldError("the engine went away")
            yield archive[at : at + 1000]

    async def load_images(self, content: AsyncIterator[bytes]) -> None:
        archive = b"".join([chunk async for chunk in content])
        self.images |= {name: bytes.fromhex(text) for name, text in json.loads(archive).items()}
