"""`ExecutionSupervisor`: takes executions, runs each as a task of its own, and sees every one to a final state.

The rules to know:
- An execution is stored before anything happens for it, and its final state after everything of it is gone: who sees
  the final state sees no container, mount or ephemeral volume any more (or the log says what the reconciler has to do).
- A run is cancelled once at most, by `_stop`, and not while its final state is being stored. So what it does to clear
  up is not broken off.
- How many run and wait, and who is next, is `admission.py`'s. Who has to wait has its image fetched meanwhile.
- A child (a judge that is an agent) has places of its generation, not of its parent's: a parent keeps its place while
  it waits for its children, so if they needed one of the same, all places could be held by parents that wait for ever.
  A generation waits for younger ones only, and there are `GENERATIONS_MAX`. While they run no container of their
  parent does, so no more run for them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from hashlib import sha256

from aegis.domain.execution import FINAL_STATES, Agent, Execution, ExecutionState
from aegis.domain.manifest import DEFAULT_MODEL, AgentManifest, judges_of
from aegis.errors import Conflict, DatabaseUnavailable, NotFound, WorldError
from aegis.ids import new_id
from aegis.ports import Clock, EventSink, LanguageModels, Store
from aegis.services.admission import Admission, Limits, Place
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.containers import ContainerMaker
from aegis.services.executions import ExecutionRunner, Outcome
from aegis.services.policy import ToolPolicy
from aegis.services.prefetch import Prefetcher
from aegis.services.recorder import Journal
from aegis.services.timing import Retries, retried

logger = logging.getLogger(__name__)

TOKEN_BYTES = 32
GENERATIONS_MAX = 4  # an execution, its judges, theirs, and theirs
CONCLUDE_RETRIES = Retries(attempts_max=8, pause_seconds=1.0)  # about two minutes of a database that is away


@dataclass(slots=True, eq=False)
class Run:
    admission: Admission
    place: Place
    generation: int = 0  # 0: somebody's request; above: how many parents it has
    task: asyncio.Task[None] | None = None
    stop: Outcome | None = None  # why it was cancelled, once it was
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
        token = secrets.token_urlsafe(TOKEN_BYTES)
        execution = Execution(
            id=new_id(),
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

    async def cancel(self, execution_id: str) -> Execution:
        """Ask for its end; returns the state reached by then, and the run goes on clearing up. Safe to repeat while it
        does, and when it is cancelled already; Conflict when it has ended otherwise."""
        if self._stop(execution_id, Outcome.cancelled()):
            return await self._store.get_execution(execution_id)
        execution = await self._store.get_execution(execution_id)
        if execution.state not in FINAL_STATES:  # of a daemon before us; what it left is the reconciler's
            await self._conclude(execution_id, Outcome.cancelled())
            return await self._store.get_execution(execution_id)
        if execution.state is not ExecutionState.CANCELLED:
            raise Conflict(f"Execution {execution_id} is {execution.state.value} already")
        return execution

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
        """Take no more, end every run as failed with code `daemon_stopped`, and return when all have cleared up."""
        self._closed = True
        for execution_id in list(self._runs):
            self._stop(execution_id, Outcome.failed("daemon_stopped", "The daemon was stopped while this was running"))
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
                if run.stop is not None:
                    raise asyncio.CancelledError
                run.can_stop = True
                await self._turn(execution, run.place)
                outcome = await self._runner.run(execution, token)
            except asyncio.CancelledError:
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
