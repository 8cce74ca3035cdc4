"""Images as archives (`GET /images/get`, `POST /images/load`), streamed both ways.

The rules to know: an archive keeps tags and forgets digests, so an image named by its digest is tagged before it is
saved (`references.loaded_name`), and found by that tag where it was loaded. The engine unpacks an archive wholly
before it imports anything, and a request whose body never ends is no whole archive: what breaks off imports nothing.
"""

# mypy: untyped-calls-exclude=aiodocker
from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote, urlencode

from aegis.adapters.docker.connection import Connection, EngineRefused, ReplyLost
from aegis.adapters.docker.references import loaded_name, parse
from aegis.errors import WorldError

CHUNK_BYTES = 256 * 1024
SAVE_SILENCE_SECONDS = 300.0  # the engine writes the whole archive to its disk before the first byte of it comes
LOAD_SECONDS = 3600.0


class Archives:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def save(self, images: Sequence[str]) -> AsyncIterator[bytes]:
        """One archive of images that are there. WorldError when the engine breaks it off."""
        names = [await self._named(image) for image in images]
        path = "images/get?" + urlencode([("names", name) for name in names])
        action = f"save {', '.join(names)}"
        async with self._connection.stream(action, "GET", path, params={}, seconds=SAVE_SILENCE_SECONDS) as body:
            while chunk := await body.exactly(CHUNK_BYTES, seconds=SAVE_SILENCE_SECONDS):
                yield chunk

    async def load(self, content: AsyncIterator[bytes]) -> None:
        """What `content` raises is raised, and then nothing is imported."""
        failures: list[Exception] = []

        async def body() -> AsyncIterator[bytes]:
            try:
                async for chunk in content:
                    yield chunk
            except Exception as error:  # aiohttp ends the request and keeps the reason to itself
                failures.append(error)
                raise

        try:
            async with self._connection.stream(
                "load images",
                "POST",
                "images/load",
                params={"quiet": 1},
                headers={"Content-Type": "application/x-tar"},
                data=body(),
                seconds=LOAD_SECONDS,
            ) as answer:
                while line := await answer.line(seconds=LOAD_SECONDS):
                    _refuse_error(line)
        except (EngineRefused, ReplyLost) as error:
            if failures:
                raise failures[0] from error
            raise WorldError(f"The engine did not load the images: {error.message}", retryable=False) from error

    async def _named(self, image: str) -> str:
        if "@" not in image:
            return image
        reference = parse(image)
        repository, _, tag = loaded_name(reference).rpartition(":")
        path = f"images/{quote(str(reference), safe='/:@')}/tag"
        async with self._connection.stream(
            f"tag image {reference}", "POST", path, params={"repo": repository, "tag": tag}
        ):
            return f"{repository}:{tag}"


def _refuse_error(line: bytes) -> None:
    try:
        message = json.loads(line)
    except ValueError:
        return
    if isinstance(message, dict) and message.get("error"):
        raise EngineRefused("load images", 0, str(message["error"]))
