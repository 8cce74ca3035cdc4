"""One execution from its first volume to its last: pull, attach, iterate until one passes, release.

The order: running, image, volumes, iterations; then volumes detached and the ephemeral ones deleted, however it went.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aegis.domain.execution import Execution, ExecutionEvent, ExecutionState
from aegis.domain.images import LocalImage, PullProgress
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.manifest import ExecutionMode, ExecutionPlan
from aegis.domain.refinement import summary_of
from aegis.errors import AegisError, WorldError
from aegis.ports import Clock, ContainerRuntime, EventSink, Store
from aegis.services.containers import ContainerMaker
from aegis.services.iterations import IterationRunner, Work
from aegis.services.recorder import Journal
from aegis.services.timing import Retries, finished, retried, within
from aegis.services.volumes import VolumeService

logger = logging.getLogger(__name__)

PROGRESS_SECONDS: Final = 1.0
RELEASE_SECONDS: Final = 120.0
DIGESTS_TOLD_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ends: the event for its table, and what is stored with it."""

    event: ExecutionEvent
    output: str | None = None
    code: str | None = None
    message: str | None = None

    @classmethod
    def completed(cls, output: str | None) -> Outcome:
        return cls(ExecutionEvent.SUCCEED, output=output)

    @classmethod
    def failed(cls, code: str, message: str) -> Outcome:
        return cls(ExecutionEvent.FAIL, code=code, message=message)

    @classmethod
    def cancelled(cls) -> Outcome:
        return cls(ExecutionEvent.CANCEL)


class ExecutionRunner:
    def __init__(
        self,
        *,
        store: Store,
        runtime: ContainerRuntime,
        maker: ContainerMaker,
        volumes: VolumeService,
        iterations: IterationRunner,
        events: EventSink,
        clock: Clock,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._maker = maker
        self._volumes = volumes
        self._iterations = iterations
        self._events = events
        self._clock = clock
        self._retries = retries

    async def run(self, execution: Execution, token: str) -> Outcome:
        """How it ended; when it returns or is cancelled, nothing of it is left outside the store. Raises only what is
        our own mistake."""
        journal = Journal(self._events, self._clock, execution.id)
        try:
            return await self._in_time(await self._prepared(execution, token, journal))
        except AegisError as error:
            return Outcome.failed(error.code, str(error))
        finally:
            await finished(self._release(execution), f"release of {execution.id}")

    async def _prepared(self, execution: Execution, token: str, journal: Journal) -> Work:
        """Running, with its image present and its volumes attached."""
        started = execution.after(ExecutionEvent.START, self._clock.now())
        ground = self._iterations.ground(execution.manifest)
        await self._store.update_execution(
            started, expect=ExecutionState.PENDING, events=[journal.event("execution.started", ground=ground)]
        )
        journal.wake()
        image = await self._pull(started, journal)
        mounted = [await self._volumes.attach(started, spec) for spec in execution.manifest.volumes]
        return Work(started, image, token, mounted, journal)

    async def _in_time(self, work: Work) -> Outcome:
        """The limit counts from the first iteration: how long a pull takes is not the agent's business."""
        seconds = work.execution.manifest.resources.execution_timeout_seconds
        if seconds is None:
            return await self._iterate(work)
        try:
            return await within(self._clock, seconds, self._iterate(work), f"iterations of {work.execution.id}")
        except TimeoutError:
            return Outcome.failed("execution_timeout", f"Not completed within {seconds:g} s, all iterations together")

    async def _iterate(self, work: Work) -> Outcome:
        done: list[Iteration] = []
        ahead = self._iterations.ahead()
        try:
            while (outcome := outcome_after(work.execution.manifest.execution, done)) is None:
                feedback = done[-1].feedback if done else None
                done.append(await self._iterations.run(work, len(done) + 1, feedback, ahead))
        finally:
            await finished(ahead.close(), f"removal of what {work.execution.id} did not need")
        return outcome

    async def _release(self, execution: Execution) -> None:
        try:
            await within(self._clock, RELEASE_SECONDS, self._released(execution), f"release of {execution.id}")
        except (AegisError, TimeoutError) as error:
            logger.error("volumes of execution %s are left to the reconciler: %s", execution.id, error)

    async def _released(self, execution: Execution) -> None:
        await retried(self._clock, self._retries, lambda: self._volumes.release(execution))

    # ---- the image ----

    async def _pull(self, execution: Execution, journal: Journal) -> LocalImage:
        """The image, made present by the policy and told by its id and digests. Its progress becomes an event a second
        at most."""
        image, policy = self._maker.image(execution.manifest.runtime)
        latest: list[PullProgress] = []

        def note(progress: PullProgress) -> None:
            latest[:] = [progress]

        async def tell(error: WorldError, pause: float) -> None:
            await journal.tell("image.failed", image=image, error=str(error), retry_in_seconds=round(pause, 1))

        await journal.tell("image.pulling", image=image, policy=policy.value)
        reporting = asyncio.create_task(self._report(journal, latest), name=f"pull of {execution.id}")
        try:
            present = await retried(
                self._clock,
                self._retries,
                lambda: self._runtime.ensure_image(image, policy, note),
                before_pause=tell,
            )
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        await journal.tell(
            "image.pulled",
            image=image,
            image_id=present.id,
            digests=list(present.digests[:DIGESTS_TOLD_MAX]),
            architecture=present.architecture,
        )
        return present

    async def _report(self, journal: Journal, latest: list[PullProgress]) -> None:
        while True:
            await self._clock.sleep(PROGRESS_SECONDS)
            while latest:
                now = latest.pop()
                await journal.tell(
                    "image.progress",
                    image=now.image,
                    status=now.status,
                    bytes_done=now.bytes_done,
                    bytes_total=now.bytes_total,
                )


def outcome_after(plan: ExecutionPlan, done: Sequence[Iteration]) -> Outcome | None:
    """How an execution ends after these iterations; None: with another one."""
    if done and done[-1].state is IterationState.SUCCESS:
        return Outcome.completed(done[-1].final)
    if len(done) < (1 if plan.mode is ExecutionMode.ONE_SHOT else plan.max_iterations):
        return None
    return Outcome.failed(_code(done[-1]), summary_of(done))


def _code(last: Iteration) -> str:
    return "validation_failed" if last.state is IterationState.REFINING else last.error_code or "iteration_failed"
