"""`ExecutionSupervisor`: takes executions, runs each as a task of its own, and sees every one to a final state.

The rules to know:
- An execution is stored before anything happens for it, and its final state after everything of it is gone: who sees
  the final state sees no container, mount or ephemeral volume any more (or the log says what the reconciler has to do).
- A run is cancelled once at most, by `_stop`, and not while its final state is being stored. So what it does to clear
  up is not broken off.
- How many run and wait, and who is next, is `admission.py`'s. Who has to wait has its image fetched meanwhile.
- What a daemon before us left unfinished is recalled at the start, before anybody is listened to: what ran has its
  place at once, what waited waits again in its order, and all of it begins when `proceed` says that the engine is
  there. Judges are not: their parent asks again. A cancellation is written down before it takes effect.
- A child (a judge that is an agent) has places of its generation, not of its parent's: a parent keeps its place while
  it waits for its children, so if they needed one of the same, all places could be held by parents that wait for ever.
  A generation waits for younger ones only, and there are `GENERATIONS_MAX`. While they run no container of their
  parent does, so no more run for them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from hashlib import sha256

from aegis.domain.execution import FINAL_STATES, Agent, Execution, ExecutionState
from aegis.domain.manifest import DEFAULT_MODEL, AgentManifest, judges_of
from aegis.errors import AegisError, Conflict, DatabaseUnavailable, NotFound, WorldError
from aegis.ids import new_id
from aegis.ports import Clock, EventSink, LanguageModels, Store
from aegis.services.admission import Admission, Limits, Place
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.containers import ContainerMaker
from aegis.services.dispatch_tokens import TokenOf
from aegis.services.executions import ExecutionRunner, Outcome
from aegis.services.policy import ToolPolicy
from aegis.services.prefetch import Prefetcher
from aegis.services.recorder import Journal
from aegis.services.resuming import ending_event
from aegis.services.timing import Retries, retried

logger = logging.getLogger(__name__)

GENERATIONS_MAX = 4  # an execution, its judges, theirs, and theirs
CONCLUDE_RETRIES = Retries(attempts_max=8, pause_seconds=1.0)  # about two minutes of a database that is away


@dataclass(slots=True, eq=False)
class Run:
    admission: Admission
    place: Place
    generation: int = 0  # 0: somebody's request; above: how many parents it has
    task: asyncio.Task[None] | None = None
    stop: Outcome | None = None  # why it was cancelled, once it was
    ran: bool = False  # under a daemon before us
    recalled: bool = False  # a daemon before us left it, and it has not begun here
    leaves: bool = False  # it is the next daemon's
    can_stop: bool = (
        False  # cancelling reaches it: it has begun (a task cancelled before that never runs) and not ended
    )


class ExecutionSupervisor:
    """Owns the tasks of all executions of this daemon; `close()` ends them all."""

    def __init__(
        self,
        *,
        store: Store,
        runner: ExecutionRunner,
        maker: ContainerMaker,
        models: LanguageModels,
        policy: ToolPolicy,
        agent_secrets: AgentSecrets | None = None,
        events: EventSink,
        clock: Clock,
        prefetcher: Prefetcher,
        node_id: str,
        token_of: TokenOf,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        conclude_retries: Retries = CONCLUDE_RETRIES,
    ) -> None:
        self._store = store
        self._runner = runner
        self._maker = maker
        self._models = models
        self._policy = policy
        self._agent_secrets = agent_secrets or AgentSecrets()
        self._events = events
        self._clock = clock
        self._prefetcher = prefetcher
        self._node_id = node_id
        self._token_of = token_of
        self._proceeds = asyncio.Event()
        self._admissions = [Admission(limits) for _ in range(GENERATIONS_MAX)]
        self._conclude_retries = conclude_retries
        self._runs: dict[str, Run] = {}
        self._closed = False

    async def start(self, agent: Agent, input: str, tenant_id: str, *, parent: Execution | None = None) -> Execution:
        """A new execution, stored and pending; it runs when there is room. `parent`: whose judge it is; whoever starts
        a child sees to it that it ends before its parent does.

        NotFound: no such model, image, security context or judge; Overloaded: too many wait already; Conflict: the
        daemon is stopping, or parents are nested too deep."""
        await self._know_judges(agent.manifest, tenant_id)
        if self._closed:
            raise Conflict("The daemon is stopping and takes no new execution")
        generation = self._generation(parent)
        manifest = agent.manifest
        self._models.get(manifest.runtime.model_alias)  # known now rather than a container later
        self._maker.image(manifest.runtime)
        self._policy.layers(manifest)
        self._agent_secrets.check(manifest)
        admission = self._admissions[generation]
        if parent is None:  # a judge is part of what was admitted
            admission.check(tenant_id)
        execution_id = new_id()
        token = self._token_of(execution_id)
        execution = Execution(
            id=execution_id,
            tenant_id=tenant_id,
            agent_id=agent.id,
            agent_name=agent.name,
            manifest=manifest,
            input=input,
            container_uid=manifest.security.container_uid,
            container_gid=manifest.security.container_gid,
            state=ExecutionState.PENDING,
            created_at=self._clock.now(),
            token_hash=sha256(token.encode()).hexdigest(),
            parent_id=None if parent is None else parent.id,
            node_id=self._node_id,
        )
        # No await since the limits were looked at: they hold for many at once.
        run = self._runs[execution.id] = Run(admission, admission.ask(tenant_id), generation)
        try:
            waits = {} if run.place.granted.done() else {"ahead": admission.ahead_of(run.place)}
            event = self._journal(execution.id).event("execution.created", agent=agent.name, **waits)
            await self._store.add_execution(execution, [event])
        except BaseException:
            admission.leave(run.place)
            del self._runs[execution.id]
            raise
        run.task = asyncio.create_task(self._run(execution, token, run), name=f"execution {execution.id}")
        return execution

    async def recall(self) -> list[Execution]:
        """Take over what a daemon of this node left unfinished, once, before the first `start`; it begins with
        `proceed`. Returns those that ran."""
        found = [each for each in await self._store.list_unfinished(self._node_id) if each.parent_id is None]
        running = [each for each in found if each.state is ExecutionState.RUNNING]
        admission = self._admissions[0]
        for execution in [*running, *(each for each in found if each.state is ExecutionState.PENDING)]:
            runs = execution.state is ExecutionState.RUNNING
            place = admission.seat(execution.tenant_id) if runs else admission.ask(execution.tenant_id)
            run = self._runs[execution.id] = Run(admission, place, ran=runs, recalled=True)
            if runs:
                self._runner.expect(execution)
            work = self._run(execution, self._token_of(execution.id), run)
            run.task = asyncio.create_task(work, name=f"execution {execution.id}")
        if found:
            logger.info("taken over: %d executions that ran, %d that waited", len(running), len(found) - len(running))
        return running

    def proceed(self) -> None:
        """What was recalled begins. Safe to repeat."""
        self._proceeds.set()

    async def cancel(self, execution_id: str) -> Execution:
        """Ask for its end; returns the state reached by then, and the run goes on clearing up. Safe to repeat while it
        does, and when it is cancelled already; Conflict when it has ended otherwise."""
        run = self._runs.get(execution_id)
        if run is not None:
            return await self._cancel(execution_id, run)
        execution = await self._store.get_execution(execution_id)
        if execution.state not in FINAL_STATES:  # of a daemon before us; what it left is the reconciler's
            await self._conclude(execution_id, Outcome.cancelled())
            return await self._store.get_execution(execution_id)
        if execution.state is not ExecutionState.CANCELLED:
            raise Conflict(f"Execution {execution_id} is {execution.state.value} already")
        return execution

    async def _cancel(self, execution_id: str, run: Run) -> Execution:
        try:
            if run.stop is None:
                await self._events.emit(ending_event(self._journal(execution_id), "cancel"))
        finally:
            if not (run.recalled and run.ran):  # else it finds this when it begins, and clears up what there is of it
                self._stop(execution_id, Outcome.cancelled())
        return await self._store.get_execution(execution_id)

    async def wait(self, execution_id: str) -> Execution:
        """Returns when nothing of the execution runs here any more: then its state is final."""
        run = self._runs.get(execution_id)
        if run is not None and run.task is not None:
            await asyncio.wait({run.task})
        return await self._store.get_execution(execution_id)

    def is_running(self, execution_id: str) -> bool:
        """Whether the execution is this daemon's to end: what is not, and has no final state, belongs to nobody."""
        return execution_id in self._runs

    async def close(self) -> None:
        """Take no more, end every run as failed with code `daemon_stopped`, and return when all have cleared up. What
        was recalled and has not begun stays as it is, for the daemon after this one."""
        self._closed = True
        outcome = Outcome.failed("daemon_stopped", "The daemon was stopped while this was running")
        ends = [key for key, run in self._runs.items() if run.stop is None and not run.recalled]
        events = [ending_event(self._journal(each), "fail", outcome.code, outcome.message) for each in ends]
        try:
            await self._events.emit(*events)
        except AegisError as error:
            logger.warning("the end of what runs could not be written down before it: %s", error)
        for execution_id, run in list(self._runs.items()):
            if run.recalled and run.stop is None:
                run.leaves = True
                if run.can_stop and run.task is not None:
                    run.task.cancel()
            else:
                self._stop(execution_id, outcome)
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        await self._prefetcher.close()

    # ---- judges ----

    def _generation(self, parent: Execution | None) -> int:
        if parent is None:
            return 0
        run = self._runs.get(parent.id)
        if run is None:
            raise Conflict(f"Execution {parent.id} does not run here and takes no judge")
        if run.generation + 1 >= GENERATIONS_MAX:
            raise Conflict(
                f"Execution {parent.id} is a judge of a judge already, {run.generation} deep, and takes no further one",
                next_step="Does an agent judge itself? Let it be judged by a model",
            )
        return run.generation + 1

    async def _know_judges(self, manifest: AgentManifest, tenant_id: str) -> None:
        """NotFound now rather than when the first answer is to be judged."""
        for judge in (judge for validator in manifest.execution.validators for judge in judges_of(validator)):
            if judge.agent is not None:
                await self._store.get_agent(tenant_id, judge.agent)
            else:
                self._models.get(judge.model_alias or DEFAULT_MODEL)

    # ---- one run ----

    def _stop(self, execution_id: str, outcome: Outcome) -> bool:
        run = self._runs.get(execution_id)
        if run is None:
            return False
        if run.stop is None:
            run.stop = outcome
            if run.can_stop and run.task is not None:
                run.task.cancel()
        return True

    async def _run(self, execution: Execution, token: str, run: Run) -> None:
        """Never raises: this is the outermost boundary of an execution."""
        outcome = Outcome.failed("internal", "The daemon failed; its log says where")
        try:
            try:
                if run.stop is not None or run.leaves:
                    raise asyncio.CancelledError
                run.can_stop = True
                if run.recalled:
                    await self._proceeds.wait()
                await self._turn(execution, run.place)
                run.recalled = False
                if run.ran:
                    outcome = await self._runner.resume(execution, token)
                else:
                    outcome = await self._runner.run(execution, token)
            except asyncio.CancelledError:
                if run.leaves:
                    return
                outcome = run.stop or Outcome.failed("daemon_stopped", "The daemon was stopped")
            run.can_stop = False
            await self._conclude(execution.id, outcome)
        except Exception:  # we are wrong: this one execution fails, the daemon goes on
            logger.exception("execution %s", execution.id)
            await self._last_resort(execution.id, outcome)
        finally:
            run.admission.leave(run.place)
            del self._runs[execution.id]

    async def _turn(self, execution: Execution, place: Place) -> None:
        if not place.granted.done():
            self._prefetcher.want(*self._maker.image(execution.manifest.runtime))
        await place.turn()

    async def _conclude(self, execution_id: str, outcome: Outcome) -> None:
        """The final state by the table, from whatever is stored; nothing when it is final already."""
        await retried(self._clock, self._conclude_retries, lambda: self._concluded(execution_id, outcome))

    async def _concluded(self, execution_id: str, outcome: Outcome) -> None:
        stored = await self._store.get_execution(execution_id)
        if stored.state in FINAL_STATES:
            return
        ended = stored.after(
            outcome.event, self._clock.now(), output=outcome.output, error_code=outcome.code, error=outcome.message
        )
        data = {"code": outcome.code, "error": outcome.message} if outcome.code else {}
        event = self._journal(execution_id).event(f"execution.{ended.state.value}", **data)
        await self._store.update_execution(ended, expect=stored.state, events=[event])
        self._events.wake(execution_id)

    async def _last_resort(self, execution_id: str, outcome: Outcome) -> None:
        try:
            await self._concluded(execution_id, outcome)
        except (DatabaseUnavailable, Conflict, NotFound, WorldError) as error:
            logger.error("execution %s has no final state, the next start will give it one: %s", execution_id, error)

    def _journal(self, execution_id: str) -> Journal:
        return Journal(self._events, self._clock, execution_id)
