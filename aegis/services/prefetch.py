"""Images fetched ahead: while an execution waits for its turn, its image comes.

Nothing depends on it: what fails here is tried again, and told, when the execution runs, and a pull that is still under
way then is shared (`ContainerRuntime.ensure_image`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aegis.domain.manifest import PullPolicy
from aegis.errors import AegisError
from aegis.ports import ContainerRuntime

logger = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 2  # pulls that nobody waits for yet must not take the line from those somebody does
IMAGES_MAX: Final = 100  # under way or waiting; a further one is not fetched ahead


class Prefetcher:
    """Owns its tasks; `close` ends them."""

    def __init__(self, runtime: ContainerRuntime) -> None:
        self._runtime = runtime
        self._places = asyncio.Semaphore(AT_ONCE_MAX)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def want(self, image: str, policy: PullPolicy) -> None:
        """Begin to fetch it, unless that is under way, or never to be done."""
        if policy is PullPolicy.NEVER or image in self._tasks or len(self._tasks) >= IMAGES_MAX:
            return
        task = asyncio.create_task(self._fetch(image, policy), name=f"prefetch of {image}")
        self._tasks[image] = task
        task.add_done_callback(lambda _: self._tasks.pop(image, None))

    async def _fetch(self, image: str, policy: PullPolicy) -> None:
        async with self._places:
            try:
                await self._runtime.ensure_image(image, policy)
            except AegisError as error:
                logger.info("%s cannot be fetched ahead: %s", image, error)

    async def close(self) -> None:
        """Nothing of it runs on return."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
