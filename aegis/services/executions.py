"""One execution from its first volume to its last: pull, attach, iterate until one passes, release.

The order: running, image, volumes, iterations; then volumes detached and the ephemeral ones deleted, however it went.
An execution that a daemon before us ran goes on in the same order, with what is left of it (`resuming.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from aegis.domain.execution import Execution, ExecutionEvent, ExecutionState
from aegis.domain.images import LocalImage, PullProgress
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.manifest import ExecutionMode, ExecutionPlan
from aegis.domain.refinement import summary_of
from aegis.errors import AegisError, Conflict, WorldError
from aegis.ports import Clock, ContainerRuntime, EventSink, Store
from aegis.services.containers import ContainerMaker
from aegis.services.iterations import IterationRunner, Work
from aegis.services.recorder import Journal
from aegis.services.resuming import Left, Leftovers, past_of
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

    @classmethod
    def of(cls, ending: Mapping[str, Any] | None) -> Outcome | None:
        """What `execution.ending` says."""
        if ending is None:
            return None
        return cls(ExecutionEvent(ending["event"]), code=ending["code"], message=ending["error"])


class ExecutionRunner:
    def __init__(
        self,
        *,
        store: Store,
        runtime: ContainerRuntime,
        maker: ContainerMaker,
        volumes: VolumeService,
        iterations: IterationRunner,
        leftovers: Leftovers,
        events: EventSink,
        clock: Clock,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._maker = maker
        self._volumes = volumes
        self._iterations = iterations
        self._leftovers = leftovers
        self._events = events
        self._clock = clock
        self._retries = retries

    async def run(self, execution: Execution, token: str) -> Outcome:
        """How it ended; when it returns or is cancelled, nothing of it is left outside the store. Raises only what is
        our own mistake."""
        journal = Journal(self._events, self._clock, execution.id)
        return await self._to_its_end(execution, self._begin(execution, token, journal))

    async def resume(self, execution: Execution, token: str) -> Outcome:
        """As `run`, for a running execution of a daemon before us, from where it stood."""
        journal = Journal(self._events, self._clock, execution.id)
        try:
            return await self._to_its_end(execution, self._go_on(execution, token, journal), resumed=True)
        finally:
            self._iterations.give_up(execution)

    def expect(self, execution: Execution) -> None:
        """It is about to be resumed. Owes a `resume`."""
        self._iterations.expect(execution)

    async def _to_its_end(
        self, execution: Execution, work: Coroutine[Any, Any, Outcome], *, resumed: bool = False
    ) -> Outcome:
        try:
            return await work
        except AegisError as error:
            return Outcome.failed(error.code, str(error))
        finally:
            await finished(self._release(execution, resumed), f"release of {execution.id}")

    async def _begin(self, execution: Execution, token: str, journal: Journal) -> Outcome:
        return await self._in_time(await self._prepared(execution, token, journal), [], None)

    async def _go_on(self, execution: Execution, token: str, journal: Journal) -> Outcome:
        if sha256(token.encode()).hexdigest() != execution.token_hash:
            raise Conflict(
                f"Execution {execution.id} was begun with another secret than this node has now",
                next_step="Was handle-secret in the state directory replaced? Execute it again",
            )
        past, done = await past_of(self._store, execution.id), await self._store.list_iterations(execution.id)
        begun = done.pop() if done and done[-1].state is IterationState.RUNNING else None
        outcome = Outcome.of(past.ending)
        if outcome is None and begun is None:
            outcome = outcome_after(execution.manifest.execution, done)
        under_way = begun.number if begun is not None and outcome is None else None
        container = await retried(
            self._clock, self._retries, lambda: self._leftovers.clear(execution.id, but_agent_of=under_way)
        )
        if outcome is not None:
            return outcome
        await journal.tell("execution.resumed", iteration=under_way)
        image = past.image or await self._pull(execution, journal)
        mounted = [await self._volumes.resume(execution, spec) for spec in execution.manifest.volumes]
        left = None if begun is None else Left(begun, container, past)
        return await self._in_time(Work(execution, image, token, mounted, journal), done, left)

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

    async def _in_time(self, work: Work, done: list[Iteration], left: Left | None) -> Outcome:
        """The limit counts from the first iteration: how long a pull takes is not the agent's business."""
        seconds = work.execution.manifest.resources.execution_timeout_seconds
        if seconds is None:
            return await self._iterate(work, done, left)
        begun = [*done, *([left.iteration] if left is not None else [])]
        gone = (self._clock.now() - begun[0].started_at).total_seconds() if begun else 0.0
        rest, name = max(seconds - gone, 0.0), f"iterations of {work.execution.id}"
        try:
            return await within(self._clock, rest, self._iterate(work, done, left), name)
        except TimeoutError:
            return Outcome.failed("execution_timeout", f"Not completed within {seconds:g} s, all iterations together")

    async def _iterate(self, work: Work, done: list[Iteration], left: Left | None) -> Outcome:
        """`done`: those there are already, which the others join; `left`: the one under way."""
        ahead = self._iterations.ahead()
        try:
            if left is not None:
                feedback = done[-1].feedback if done else None
                done.append(await self._iterations.resume(work, left, feedback, ahead))
            while (outcome := outcome_after(work.execution.manifest.execution, done)) is None:
                feedback = done[-1].feedback if done else None
                done.append(await self._iterations.run(work, len(done) + 1, feedback, ahead))
        finally:
            await finished(ahead.close(), f"removal of what {work.execution.id} did not need")
        return outcome

    async def _release(self, execution: Execution, resumed: bool) -> None:
        """`resumed`: it may have ended before all was found that the daemon before us had made for it."""
        try:
            if resumed:
                await within(self._clock, RELEASE_SECONDS, self._cleared(execution), f"rest of {execution.id}")
            await within(self._clock, RELEASE_SECONDS, self._released(execution), f"release of {execution.id}")
        except (AegisError, TimeoutError) as error:
            logger.error("volumes, or containers, of execution %s are left to the reconciler: %s", execution.id, error)

    async def _cleared(self, execution: Execution) -> None:
        journal = Journal(self._events, self._clock, execution.id)
        for iteration in await self._store.list_iterations(execution.id):
            if iteration.state is IterationState.RUNNING:
                await self._iterations.break_off(iteration, journal)
        await retried(self._clock, self._retries, lambda: self._leftovers.clear(execution.id, but_agent_of=None))

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
