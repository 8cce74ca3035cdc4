"""Images by pull policy (`GET /images/{name}/json`, `POST /images/create`).

The rules to know: a pull answers 200 at once and reports its failure inside the stream; a stream that ends is no proof
of success either, so the image is inspected afterwards. One pull serves everybody who waits for the same reference; it
stops only when nobody waits any more. What was loaded from a file has no digests (Docker keeps them with pulls alone),
so a name with a digest is also looked for under the tag that loading gives it (`references.loaded_name`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from aegis.adapters.docker.connection import Connection, EngineRefused, ReplyLost
from aegis.adapters.docker.failures import pull_failure
from aegis.adapters.docker.progress import LayerProgress
from aegis.adapters.docker.references import Reference, RegistryCredentials, auth_header, loaded_name, parse
from aegis.domain.images import LocalImage, PullProgress
from aegis.domain.manifest import PullPolicy
from aegis.errors import ImageNotFound, ImagePullFailed

logger = logging.getLogger(__name__)

Listener = Callable[[PullProgress], None]
PULL_SILENCE_SECONDS = 180.0  # extracting one huge layer reports nothing on slow disks
PULL_SECONDS = 3600.0


class Images:
    def __init__(
        self,
        connection: Connection,
        credentials: Mapping[str, RegistryCredentials],
        *,
        silence_seconds: float = PULL_SILENCE_SECONDS,
    ) -> None:
        self._connection = connection
        self._credentials = dict(credentials)
        self._silence_seconds = silence_seconds
        self._pulls: dict[Reference, _Pull] = {}

    async def ensure(self, image: str, policy: PullPolicy, on_progress: Listener | None = None) -> LocalImage:
        """The image as it is there then. `image` may be an id itself, which is only ever looked up."""
        if image.startswith("sha256:"):
            policy = PullPolicy.NEVER
        if policy is not PullPolicy.ALWAYS and (found := await self._inspect(image)) is not None:
            return found
        if policy is PullPolicy.NEVER:
            raise ImageNotFound(
                f"Image {image} is not on the engine's host, and image_pull_policy is Never",
                next_step=f"Run `docker pull {image}`, or set image_pull_policy to IfNotPresent",
            )
        reference = parse(image)
        await self._pull(reference, on_progress)
        found = await self._inspect(str(reference))
        if found is None:
            raise ImagePullFailed(f"The pull of {reference} ended, but the engine does not have the image")
        return found

    async def close(self) -> None:
        pulls = [pull.task for pull in self._pulls.values()]
        for task in pulls:
            task.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)

    async def _inspect(self, image: str) -> LocalImage | None:
        found = await self._show(image)
        if found is None and "@" in image:
            found = await self._show(loaded_name(parse(image)))
        if found is None:
            return None
        return LocalImage(
            str(found["Id"]), str(found.get("Architecture") or ""), tuple(map(str, found.get("RepoDigests") or ()))
        )

    async def _show(self, image: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._connection.call_again(
                f"show image {image}", lambda docker: docker.images.inspect(quote(image, safe="/:@"))
            )
        except EngineRefused as refused:
            if refused.http_status == 404:
                return None
            raise
        return found

    async def _pull(self, reference: Reference, on_progress: Listener | None) -> None:
        pull = self._pulls.get(reference)
        if pull is None:
            pull = self._pulls[reference] = _Pull(self, reference)
        await pull.wait(on_progress)

    async def stream(self, reference: Reference, tell: Listener) -> None:
        """One pull, start to end."""
        auth = auth_header(reference, self._credentials)
        progress = LayerProgress(str(reference), tell)
        try:
            async with (
                asyncio.timeout(PULL_SECONDS),
                self._connection.stream(
                    f"pull {reference}",
                    "POST",
                    "images/create",
                    params={"fromImage": reference.name, "tag": reference.version},
                    headers={"X-Registry-Auth": auth} if auth else None,
                ) as body,
            ):
                while line := await body.line(seconds=self._silence_seconds):
                    progress.take(_message(reference, line))
        except EngineRefused as refused:
            raise pull_failure(reference, refused, with_credentials=auth is not None) from refused
        except ReplyLost as lost:
            reason = f"said nothing for {self._silence_seconds:g} s" if lost.timed_out else "broke off"
            raise ImagePullFailed(f"The pull of {reference} {reason}: {lost.message}") from lost
        except TimeoutError as error:
            raise ImagePullFailed(f"The pull of {reference} was not done after {PULL_SECONDS:g} s") from error
        progress.finish()

    def forget(self, pull: _Pull) -> None:
        if self._pulls.get(pull.reference) is pull:
            del self._pulls[pull.reference]


class _Pull:
    """One pull under way and those who wait for it."""

    def __init__(self, images: Images, reference: Reference) -> None:
        self.reference = reference
        self._images = images
        self._listeners: list[Listener] = []
        self._waiting = 0
        self.task = asyncio.create_task(images.stream(reference, self._tell), name=f"pull {reference}")
        self.task.add_done_callback(lambda _: images.forget(self))

    async def wait(self, on_progress: Listener | None) -> None:
        self._waiting += 1
        if on_progress is not None:
            self._listeners.append(on_progress)
        try:
            # Shielded: a waiter that is cancelled leaves the pull to the others.
            await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if on_progress is not None and on_progress in self._listeners:
                self._listeners.remove(on_progress)
            if not self._waiting and not self.task.done():
                self._images.forget(self)  # who comes now starts afresh instead of joining what is being cancelled
                self.task.cancel()

    def _tell(self, progress: PullProgress) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(progress)
            except Exception:  # one waiter's mistake must not end the pull of the others
                logger.exception("a listener to the pull of %s failed and is not called again", self.reference)
                self._listeners.remove(listener)


def _message(reference: Reference, line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ImagePullFailed(f"The engine reports the pull of {reference} with a line that is no JSON") from error
    if not isinstance(message, dict):
        raise ImagePullFailed(f"The engine reports the pull of {reference} with {message!r} instead of an object")
    detail = message.get("errorDetail")
    text = (detail.get("message") if isinstance(detail, dict) else None) or message.get("error")
    if text:
        raise EngineRefused(f"pull {reference}", 0, str(text))
    return message
