"""The next iteration's container, made while the current one's answer is judged.

It is created and not started: nothing is mounted and nothing runs, so it can neither see nor change what is judged. If
there is no next iteration it is removed, which nobody has waited for but the execution's end.

The rule to know: what was begun here is either taken over by `Containers.running`, which removes it, or removed by
`close`. A failure to make it is no failure of the iteration, which makes its own then.
"""

from __future__ import annotations

import asyncio
import logging

from aegis.domain.manifest import ExecutionMode, ExecutionPlan
from aegis.errors import AegisError
from aegis.ports import ContainerSpec
from aegis.services.containers import Containers, Making

logger = logging.getLogger(__name__)


def may_follow(plan: ExecutionPlan, number: int) -> bool:
    """Whether another iteration may come after this one's answer: somebody judges it, and it is not the last."""
    return plan.mode is ExecutionMode.ITERATIVE and number < plan.max_iterations and bool(plan.validators)


class Ahead:
    """Of one execution: at most one container at a time."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._number = 0
        self._making: Making | None = None

    def begin(self, spec: ContainerSpec, number: int) -> None:
        """Make the container of iteration `number`, in a task of its own."""
        if self._making is None or self._making.taken:
            self._number = number
            self._making = self._containers.begin(spec)

    async def take(self, number: int) -> Making | None:
        """The container of this iteration, if one was made; hand it to `Containers.running`. There is one, so a second
        attempt at the iteration gets none."""
        making = self._making
        if making is None or making.taken or self._number != number:
            return None
        try:
            await asyncio.shield(making.task)
        except AegisError as error:
            logger.info("the container %s could not be made ahead: %s", making.spec.name, error)
            await self.close()
            return None
        return making

    async def close(self) -> None:
        """Remove what nobody took."""
        making, self._making = self._making, None
        if making is not None and not making.taken:
            await self._containers.undo(making)
