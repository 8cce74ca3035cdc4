"""One iteration: a fresh container, one inner loop, one verdict.

The order: container made and started, final response, container ended and removed, judged. The container is gone before
anything is judged: what it wrote is flushed by the unmount, and nothing of it can change the files any more.

The rules to know:
- What the agent does wrong ends the iteration (`IterationFailed`), and the next is told. What the world does wrong (an
  engine that fails, a container that never reached us) is tried again in the same iteration, with a new container and
  from the beginning of the conversation, and is not counted; when that does not help it ends the execution.
- The time for the final response runs from the container's start, not from the pull or the mount. When it is over
  before the container has reached us at all, that is the world's fault and not the agent's.
- An iteration that failed is stored as failed before its container goes: a daemon that dies between the two must not
  be followed by one that finds an iteration without a container, and begins it anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

from aegis.domain import refinement
from aegis.domain.briefing import task_prompt
from aegis.domain.events import Event
from aegis.domain.execution import Execution
from aegis.domain.images import LocalImage
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.manifest import AgentManifest
from aegis.domain.text import shorten
from aegis.domain.validation import Judgement
from aegis.errors import AegisError, ContainerFailed, NotFound, WorldError
from aegis.ports import Clock, ContainerExit, ContainerRuntime, ContainerSpec, Gateway, Store
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.ahead import Ahead, may_follow
from aegis.services.containers import ContainerMaker, Containers
from aegis.services.egress import EgressGate
from aegis.services.inner_loop import InnerLoop
from aegis.services.judging import Panel
from aegis.services.judging.candidate import Candidate, ScriptResult
from aegis.services.outcomes import IterationFailed
from aegis.services.recorder import Journal
from aegis.services.resuming import Left, LeftContainer, ending_event, standing
from aegis.services.sessions import FinalResponse, Session
from aegis.services.timing import Retries, finished, retried, within
from aegis.services.volumes import MountedVolume
from aegis.services.workspaces import Workspaces

logger = logging.getLogger(__name__)

EXIT_SECONDS: Final = 10.0  # for the container to end by itself after the final response
LEFT_EXIT_SECONDS: Final = 60.0  # the same, where it has to find the daemon again first: bootstrap pauses 10 s at most
LOG_SHOWN: Final = 2_000
CANNOT_RUN: Final = (126, 127)  # the image's own fault: another container of it would do the same


@dataclass(frozen=True, slots=True)
class Work:
    """What the iterations of one execution share."""

    execution: Execution
    image: LocalImage
    token: str
    mounted: Sequence[MountedVolume]
    journal: Journal


@dataclass(frozen=True, slots=True)
class Answer:
    """How the agent's container did: its final response, and its exit code (None: it had to be killed)."""

    final: FinalResponse
    exit_code: int | None
    container_id: str


class IterationRunner:
    def __init__(
        self,
        *,
        store: Store,
        runtime: ContainerRuntime,
        containers: Containers,
        maker: ContainerMaker,
        inner_loop: InnerLoop,
        panel: Panel,
        gateway: Gateway,
        egress: EgressGate,
        clock: Clock,
        secrets: AgentSecrets | None = None,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        self._secrets = secrets or AgentSecrets()
        self._store = store
        self._runtime = runtime
        self._containers = containers
        self._maker = maker
        self._inner_loop = inner_loop
        self._panel = panel
        self._gateway = gateway
        self._egress = egress
        self._clock = clock
        self._retries = retries

    def ground(self, manifest: AgentManifest) -> dict[str, Any]:
        """What the node decides by, beside the manifest."""
        return self._inner_loop.ground(manifest)

    def ahead(self) -> Ahead:
        """For one execution: what `run` makes the next iteration's container with. Whoever asks for it closes it."""
        return Ahead(self._containers)

    async def run(self, work: Work, number: int, feedback: str | None, ahead: Ahead) -> Iteration:
        """The iteration, ended and stored: success, refining or failed. WorldError when the world did not allow it;
        whatever it raises, the stored iteration has ended by then."""
        journal = work.journal.of(number)
        iteration = Iteration(work.execution.id, number, IterationState.RUNNING, self._clock.now())
        await self._store.add_iteration(iteration, [journal.event("iteration.started", number=number)])
        journal.wake()
        return await self._to_its_end(work, iteration, feedback, ahead, None)

    async def resume(self, work: Work, left: Left, feedback: str | None, ahead: Ahead) -> Iteration:
        """As `run`, from where the iteration stands: at the very turn of its conversation with the container that is
        there, at its judges when the answer is, and else from its beginning."""
        return await self._to_its_end(work, left.iteration, feedback, ahead, left)

    async def break_off(self, iteration: Iteration, journal: Journal) -> None:
        """An end for an iteration of a daemon before us that is not to go on."""
        await self._failed(iteration, IterationFailed("it was broken off"), journal.of(iteration.number))

    def expect(self, execution: Execution) -> None:
        """It is about to be resumed: its container is asked to come again, until `give_up` at the latest."""
        self._inner_loop.expect(execution.id)

    def give_up(self, execution: Execution) -> None:
        self._inner_loop.give_up(execution.id)

    async def _to_its_end(
        self, work: Work, iteration: Iteration, feedback: str | None, ahead: Ahead, left: Left | None
    ) -> Iteration:
        journal, number = work.journal.of(iteration.number), iteration.number
        try:
            async with self._egress.session(work.execution, journal):  # validators' containers go out by it as well
                there = await self._left_answer(work, left, journal) if left is not None else None
                container = None if left is None else left.container
                answer = there or await self._answer(work, iteration, feedback, journal, ahead, container)
                if isinstance(answer, Iteration):
                    return answer
                await self._prepare(work, number + 1, ahead)
                return await self._judged(work, iteration, answer, journal)
        except BaseException as error:
            broken_off = isinstance(error, asyncio.CancelledError)
            reason = IterationFailed("it was broken off" if broken_off else str(error))
            ending = (ending_event(work.journal, "fail", each.code, str(each)) for each in _of_the_world(error))
            await finished(self._failed(iteration, reason, journal, *ending), f"end of iteration {number}")
            raise

    # ---- the agent ----

    async def _answer(
        self,
        work: Work,
        iteration: Iteration,
        feedback: str | None,
        journal: Journal,
        ahead: Ahead,
        left: LeftContainer | None,
    ) -> Answer | Iteration:
        """Its answer, or the iteration as it has failed."""
        prompt = task_prompt(work.execution.manifest, work.execution.input, iteration.number, feedback)
        if left is not None:  # it has its secrets: they are to be blanked out again before it is heard
            manifest = work.execution.manifest
            await retried(self._clock, self._retries, lambda: self._secrets.environment(manifest))
        first = left

        async def attempt() -> Answer | Iteration:
            nonlocal first
            container, first = first, None
            if container is not None:
                adopted = self._containers.left(container, journal)
                return await self._attempt(work, iteration, prompt, journal, adopted, container)
            making = await ahead.take(iteration.number) or await self._spec(work, iteration.number)
            return await self._attempt(work, iteration, prompt, journal, self._containers.running(making, journal))

        async def tell(error: WorldError, pause: float) -> None:
            await journal.tell("iteration.retried", code=error.code, error=str(error), retry_in_seconds=round(pause, 1))

        return await retried(self._clock, self._retries, attempt, before_pause=tell)

    async def _left_answer(self, work: Work, left: Left, journal: Journal) -> Answer | None:
        """The answer that was being judged; None: it is to be had yet."""
        conversation = await standing(self._store, left, journal)
        if conversation is None or conversation.final is None or left.past.container_id is None:
            return None
        response = FinalResponse(conversation.final, conversation.tool_calls)
        return Answer(response, left.past.exit_code, left.past.container_id)

    async def _spec(self, work: Work, number: int) -> ContainerSpec:
        """Of the agent's container. WorldError: a secret of its environment is not to be had."""
        spec = self._maker.agent(work.execution, number, work.image, work.token, work.mounted)
        secrets = await self._secrets.environment(work.execution.manifest)
        return replace(spec, environment={**secrets, **spec.environment})

    async def _prepare(self, work: Work, number: int, ahead: Ahead) -> None:
        """Have the container of a further iteration made, if there may be one."""
        if not may_follow(work.execution.manifest.execution, number - 1):
            return
        try:
            ahead.begin(await self._spec(work, number), number)
        except AegisError as error:  # the iteration itself will meet it again, if it comes to that
            logger.info("the container of iteration %d cannot be made ahead: %s", number, error)

    async def _attempt(
        self,
        work: Work,
        iteration: Iteration,
        prompt: str,
        journal: Journal,
        container: AbstractAsyncContextManager[str],
        left: LeftContainer | None = None,
    ) -> Answer | Iteration:
        resume = left is not None
        async with (
            self._inner_loop.session(work.execution, iteration.number, prompt, work.mounted, resume=resume) as session,
            container as container_id,
        ):
            try:
                final = await self._final_in_time(session, container_id, journal, self._seconds_left(work, left))
            except IterationFailed as failure:
                return await self._failed(iteration, failure, journal)
            exit_code = await self._end(container_id, journal, LEFT_EXIT_SECONDS if resume else EXIT_SECONDS)
            return Answer(final, exit_code, container_id)

    def _seconds_left(self, work: Work, left: LeftContainer | None) -> float:
        seconds = work.execution.manifest.resources.timeout_seconds
        gone = 0.0 if left is None else (self._clock.now() - left.started_at).total_seconds()
        return max(seconds - gone, 0.0)

    async def _final_in_time(
        self, session: Session, container_id: str, journal: Journal, seconds_left: float
    ) -> FinalResponse:
        if session.ended.done():
            return session.ended.result()
        seconds = session.execution.manifest.resources.timeout_seconds
        try:
            return await within(
                self._clock, seconds_left, self._final(session, container_id), f"iteration of {session.execution.id}"
            )
        except TimeoutError:
            await self._runtime.kill(container_id)
            await journal.tell(
                "container.killed", container_id=container_id, reason=f"no final response in {seconds:g} s"
            )
            if not session.contacted:  # ours: the agent was never asked anything. To wait as long again helps nobody
                said = await self._said(container_id)
                raise self._unreached(
                    session.execution, f"was killed after {seconds:g} s", said, retryable=False
                ) from None
            raise IterationFailed(
                f"no final response within {seconds:g} s: the container was killed", code="iteration_timeout"
            ) from None

    async def _final(self, session: Session, container_id: str) -> FinalResponse:
        """The final response, or why there is none: the container ended without."""
        final = asyncio.create_task(
            self._inner_loop.wait_final(session.execution, session.number), name="final response"
        )
        ended = asyncio.create_task(self._wait(container_id), name=f"wait for {container_id}")
        try:
            await asyncio.wait({final, ended}, return_when=asyncio.FIRST_COMPLETED)
            if final.done():
                return final.result()
            await self._explain(session, container_id, ended.result())
            return await final  # it ended because it had the final response, a moment before we saw that
        finally:
            final.cancel()
            ended.cancel()
            await asyncio.gather(final, ended, return_exceptions=True)

    async def _wait(self, container_id: str) -> ContainerExit:
        try:
            return await self._runtime.wait(container_id)
        except NotFound as error:
            raise ContainerFailed(f"The agent's container {container_id[:12]} was removed under it") from error

    async def _explain(self, session: Session, container_id: str, ended: ContainerExit) -> None:
        """Raises what an end without a final response means; returns when there is one."""
        if session.ended.done():
            return
        said = await self._said(container_id)
        code = ended.exit_code
        if ended.out_of_memory:
            limit = session.execution.manifest.resources.memory_bytes
            raise IterationFailed(f"the container ran out of memory (limit {limit} bytes){said}", exit_code=code)
        if not session.contacted:
            why = f"; {ended.error}" if ended.error else ""
            ending = f"ended with exit code {code}"
            raise self._unreached(session.execution, ending, said + why, retryable=code not in CANNOT_RUN)
        raise IterationFailed(
            f"the container ended with exit code {code} before a final response{said}", exit_code=code
        )

    async def _said(self, container_id: str) -> str:
        output = shorten(await self._containers.last_lines(container_id), LOG_SHOWN, tail_share=0.9)
        return f"; its last lines: {output}" if output else ""

    def _unreached(self, execution: Execution, ending: str, said: str, *, retryable: bool = True) -> ContainerFailed:
        return ContainerFailed(
            f"The agent's container {ending} and has never reached {self._maker.orchestrator_url(execution)}{said}",
            next_step="Can a container on this network open that address?",
            retryable=retryable,
        )

    async def _end(self, container_id: str, journal: Journal, seconds: float) -> int | None:
        """The exit code of a container that has given its final response; None when it had to be killed."""
        try:
            ended = await within(self._clock, seconds, self._wait(container_id), f"end of {container_id}")
        except TimeoutError:
            await self._runtime.kill(container_id)
            reason = f"still running {seconds:g} s after the final response"
            await journal.tell("container.killed", container_id=container_id, reason=reason)
            return None
        await journal.tell("container.exited", container_id=container_id, exit_code=ended.exit_code)
        return ended.exit_code

    # ---- the verdict ----

    async def _judged(self, work: Work, iteration: Iteration, answer: Answer, journal: Journal) -> Iteration:
        async def tell(judgement: Judgement) -> None:
            await journal.tell(
                "validator.judged",
                validator=judgement.validator,
                score=judgement.score,
                confidence=judgement.confidence,
                passed=judgement.passed,
                reason=judgement.reason,
            )

        async def run_script(command: tuple[str, ...], timeout_seconds: float) -> ScriptResult:
            return await retried(
                self._clock,
                self._retries,
                lambda: self._script(work, iteration.number, command, timeout_seconds, journal),
            )

        candidate = Candidate(
            execution=work.execution,
            iteration=iteration.number,
            final=answer.final.content,
            exit_code=answer.exit_code,
            files=Workspaces(self._gateway, work.mounted),
            mounted=work.mounted,
            run_script=run_script,
            journal=journal,
        )
        verdict = await self._panel.judge(work.execution.manifest.execution.validators, candidate, tell)
        ended = refinement.judged(
            iteration,
            verdict,
            self._clock.now(),
            container_id=answer.container_id,
            exit_code=answer.exit_code,
            final=answer.final.content,
            tool_calls=answer.final.tool_calls_executed,
        )
        return await self._stored(ended, journal, score=verdict.score)

    async def _script(
        self, work: Work, number: int, command: tuple[str, ...], timeout_seconds: float, journal: Journal
    ) -> ScriptResult:
        spec = self._maker.validator(work.execution, number, work.image, command, work.mounted)
        async with self._containers.running(spec, journal) as container_id:
            try:
                ended = await within(self._clock, timeout_seconds, self._wait(container_id), f"validator {spec.name}")
            except TimeoutError:
                await self._runtime.kill(container_id)
                return ScriptResult(-1, await self._containers.last_lines(container_id), timed_out=True)
            return ScriptResult(ended.exit_code, await self._containers.last_lines(container_id))

    # ---- the end ----

    async def _failed(
        self, iteration: Iteration, failure: IterationFailed, journal: Journal, *more: Event
    ) -> Iteration:
        ended = refinement.failed(
            iteration, failure.reason, failure.code, self._clock.now(), exit_code=failure.exit_code
        )
        return await self._stored(ended, journal, *more, error=failure.reason, code=failure.code)

    async def _stored(self, iteration: Iteration, journal: Journal, *more: Event, **data: object) -> Iteration:
        kinds = {IterationState.SUCCESS: "iteration.succeeded", IterationState.REFINING: "iteration.refining"}
        kind = kinds.get(iteration.state, "iteration.failed")
        event = journal.event(kind, number=iteration.number, **data)
        await self._store.update_iteration(iteration, [event, *more])
        journal.wake()
        return iteration


def _of_the_world(error: BaseException) -> tuple[AegisError, ...]:
    """The error, when it ends the execution by a failure that has a code."""
    return (error,) if isinstance(error, AegisError) else ()
