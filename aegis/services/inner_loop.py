"""The inner loop: the model's answers, its tool calls one after the other, and the container's commands between them.

The container's bootstrap drives it over HTTP (`generate`, `dispatch_result`); the supervisor opens it for an iteration
and waits for its end. The rules to know:

- Bootstrap may repeat every call. A repetition finds the step that is under way, or what followed it: a session has one
  step at a time, a task of its own that no lost connection breaks off.
- State changes in the store first and in memory then; what to do next follows from the state alone (`conversation.py`).
  A step that fails at the store is forgotten, and the next call takes it again.
- A tool of the daemon runs before its result is stored: after a crash between the two it runs again. Commands do not:
  a dispatch is stored before it is sent, and its result is taken once.
- What is wrong with the agent (`IterationFailed`) and what is wrong with the model's provider (`ModelFailed`) end the
  session by different exceptions: only the first counts as an iteration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from aegis.domain.briefing import system_prompt
from aegis.domain.events import Event
from aegis.domain.execution import Execution
from aegis.domain.manifest import AgentManifest
from aegis.domain.text import shorten
from aegis.errors import Conflict, ModelContextTooLong, ModelFailed, WorldError
from aegis.ports import (
    Clock,
    EventSink,
    Finish,
    Message,
    ModelContext,
    ModelReply,
    ModelUsage,
    ToolCall,
    ToolSpec,
)
from aegis.services.agent_calls import AgentCalls
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.cmd_tool import STREAM_CHARACTERS_MAX, TAIL_SHARE, result_text
from aegis.services.conversation import CONVERSATION_CHARACTERS_MAX, Conversation, Dispatch
from aegis.services.outcomes import IterationFailed
from aegis.services.rates import RateLimits, allowed_calls
from aegis.services.recorder import Journal
from aegis.services.sessions import ComesAgain, CommandEnvironment, FinalResponse, LoopStore, Models, Session
from aegis.services.tools import EVENT_CHARACTERS_MAX, ToolBox, ToolContext, ToolResult
from aegis.services.volumes import MountedVolume
from aegis.services.workspaces import Files, Workspaces

logger = logging.getLogger(__name__)

ROUNDS_MAX: Final = 50
REFUSAL_CHARACTERS_MAX: Final = 1_000  # of a refusal's words, for the next iteration
TAKEN_EVENT_CHARACTERS: Final = STREAM_CHARACTERS_MAX  # what the model reads of it: a replay makes the same of it


class InnerLoop:
    def __init__(
        self,
        *,
        store: LoopStore,
        models: Models,
        tools: ToolBox,
        gateway: Files,
        events: EventSink,
        clock: Clock,
        command_environment: CommandEnvironment = lambda _execution, _number: {},
        remarks: Callable[[str], Sequence[str]] = lambda _execution_id: (),
        rounds_max: int = ROUNDS_MAX,
        secrets: AgentSecrets | None = None,
    ) -> None:
        self._store = store
        self._models = models
        self._tools = tools
        self._gateway = gateway
        self._events = events
        self._clock = clock
        self._environment = command_environment
        self._remarks = remarks
        self._rounds_max = rounds_max
        self._secrets = secrets or AgentSecrets()
        self._sessions: dict[str, Session] = {}
        self._expected: set[str] = set()

    # ---- for the supervisor ----

    def expect(self, execution_id: str) -> None:
        """Its iteration goes on in a moment: until then, or until `give_up`, its container is asked to come again."""
        self._expected.add(execution_id)

    def give_up(self, execution_id: str) -> None:
        self._expected.discard(execution_id)

    def ground(self, manifest: AgentManifest) -> dict[str, Any]:
        """What the node decides by beside the manifest: kept with an execution, so that its decisions can be reached
        again on another node."""
        contexts = [context.model_dump(mode="json") for context in self._tools.node_contexts(manifest)]
        return {"tool_rounds": self._rounds_max, "tools": self._tools.names, "security_contexts": contexts}

    @asynccontextmanager
    async def session(
        self, execution: Execution, number: int, prompt: str, mounted: Sequence[MountedVolume], *, resume: bool = False
    ) -> AsyncIterator[Session]:
        """The iteration's inner loop is open inside the block, and everything of it has ended after it.

        `resume` goes on with the conversation that is stored, as after a restart of the daemon; otherwise a new one
        takes its place."""
        files = Workspaces(self._gateway, mounted)
        journal = Journal(self._events, self._clock, execution.id, number)
        stored = await self._store.load_inner_loop(execution.id, number) if resume else None
        if stored is not None:
            conversation = Conversation.from_json(stored)
        else:
            system = Message("system", system_prompt(execution.manifest, files.mount_paths))
            conversation = Conversation((system, Message("user", prompt)))
            await self._store.save_inner_loop(execution.id, number, conversation.to_json())
        ended: asyncio.Future[FinalResponse] = asyncio.get_running_loop().create_future()
        rates = RateLimits(lambda: allowed_calls(self._store, execution.id))
        context = ToolContext(execution, files, journal, rates)
        calls = AgentCalls(self._tools, context)
        session = Session(execution, number, prompt, conversation, context, ended, calls)
        if execution.id in self._sessions:
            raise Conflict(f"Execution {execution.id} has an iteration under way already")
        if conversation.final is not None:
            ended.set_result(FinalResponse(conversation.final, conversation.tool_calls))
        self._sessions[execution.id] = session
        self._expected.discard(execution.id)
        try:
            yield session
        finally:
            del self._sessions[execution.id]
            await self._close(session)

    async def wait_final(self, execution: Execution, number: int) -> FinalResponse:
        """Returns when the model has given its final response. IterationFailed, ModelFailed."""
        return await asyncio.shield(self._session(execution.id, number).ended)

    # ---- for the container, through the API ----

    async def task(self, execution: Execution, iteration: int) -> dict[str, Any]:
        """What bootstrap begins with. Conflict when the iteration is not under way."""
        session = self._session(execution.id, iteration)
        async with session.lock:
            if not session.contacted:
                await self._save(session, replace(session.conversation, contacted=True))
        return {
            "prompt": session.prompt,
            "messages": [],
            "agent_id": execution.agent_id,
            "execution_id": execution.id,
            "iteration_number": iteration,
            "model_alias": execution.manifest.runtime.model_alias,
        }

    async def generate(self, execution_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What the container is to do next. The prompt is ours, whatever the container says it is."""
        session = self._session(execution_id, int(payload["iteration_number"]))
        return await self._next(session)

    async def dispatch_result(self, execution_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Take the result of the pending dispatch, once; then what follows it. Conflict for a dispatch never sent.

        `remarks`, of a record that is gone through again, are what was to be said of it then."""
        session = self._session(execution_id)
        async with session.lock:
            conversation = session.conversation
            pending, dispatch_id = conversation.pending, str(payload["dispatch_id"])
            if pending is not None and dispatch_id == pending.dispatch_id:
                payload = {**payload, "remarks": payload.get("remarks") or list(self._remarks(execution_id))}
                taken = _taken(session, pending, payload)
                await self._save(session, conversation.with_dispatch_taken(result_text(payload)), taken)
            elif dispatch_id not in conversation.taken:
                raise Conflict(f"Dispatch {dispatch_id} is none of iteration {session.number}")
        return await self._next(session)

    async def dispatch_output(self, execution_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Tell what the pending dispatch has written so far. Conflict when it is not pending, or has told enough."""
        session = self._session(execution_id)
        async with session.lock:
            pending = session.conversation.pending
            if pending is None or pending.dispatch_id != payload["dispatch_id"]:
                raise Conflict(f"Dispatch {payload['dispatch_id']} is not under way")
            news = session.output.take(payload)
            if news is not None:
                await session.tools.journal.tell("dispatch.output", **news)
        return {"type": "noted"}

    # ---- for processes in the container, through SMCP ----

    def agent_tools(self, execution_id: str, number: int) -> list[ToolSpec]:
        return self._tools.specs(self._session(execution_id, number).execution, "agent")

    async def call_tool(self, execution_id: str, number: int, call: ToolCall) -> ToolResult:
        """One call, as the model's are, beside the loop. Conflict, Overloaded."""
        return await self._session(execution_id, number).calls.call(call)

    # ---- the loop ----

    def _session(self, execution_id: str, number: int | None = None) -> Session:
        session = self._sessions.get(execution_id)
        if session is None and execution_id in self._expected:
            raise ComesAgain(f"Execution {execution_id} is about to go on after a restart of the daemon")
        if session is None:
            raise Conflict(f"Execution {execution_id} has no iteration under way")
        if number is not None and session.number != number:
            raise Conflict(f"Iteration {number} of execution {execution_id} is over: {session.number} is under way")
        return session

    async def _next(self, session: Session) -> dict[str, Any]:
        """Join the step under way, or begin it. It goes on when this caller is gone."""
        if session.step is None or session.step.done():
            name = f"inner loop {session.execution.id} {session.number}"
            session.step = asyncio.create_task(self._advance(session), name=name)
            session.step.add_done_callback(_seen)
        try:
            return await asyncio.shield(session.step)
        except asyncio.CancelledError:
            if session.step.cancelled():
                raise self._over(session) from None
            raise
        except (IterationFailed, ModelFailed) as error:
            raise self._over(session) from error  # its own words are the supervisor's business

    async def _advance(self, session: Session) -> dict[str, Any]:
        """Until there is something for the container: a dispatch or the final response."""
        try:
            while True:
                conversation = session.conversation
                if conversation.final is not None:
                    return self._finish(session, conversation.final)
                if conversation.pending is not None:
                    return conversation.pending.to_wire(self._environment(session.execution, session.number))
                if conversation.next_call is not None:
                    await self._call_tool(session)
                else:
                    await self._ask_model(session)
        except Exception as error:
            passing = isinstance(error, WorldError) and not isinstance(error, ModelFailed) and error.retryable
            if not passing and not session.ended.done():  # what may pass is answered 503, and bootstrap asks again
                session.ended.set_exception(error)
            raise

    def _finish(self, session: Session, content: str) -> dict[str, Any]:
        conversation = session.conversation
        if not session.ended.done():
            session.ended.set_result(FinalResponse(content, conversation.tool_calls))
        return {
            "type": "final",
            "content": content,
            "tool_calls_executed": conversation.tool_calls,
            "conversation": conversation.wire_messages(),
        }

    async def _call_tool(self, session: Session) -> None:
        conversation = session.conversation
        call = conversation.next_call
        assert call is not None
        result = await self._tools.call(call, session.tools)
        if isinstance(result, Dispatch):
            data = {"dispatch_id": result.dispatch_id, "command": result.command, "args": list(result.args)}
            sent = session.tools.journal.event("dispatch.sent", cwd=result.cwd, **data)
            await self._save(session, replace(conversation, pending=result), sent)
        else:
            await self._save(session, conversation.with_result(call.id, result.text))

    async def _ask_model(self, session: Session) -> None:
        conversation = session.conversation
        if conversation.rounds >= self._rounds_max:
            raise IterationFailed(f"no final response within {self._rounds_max} rounds of tool calls")
        if conversation.characters > CONVERSATION_CHARACTERS_MAX:
            raise IterationFailed(f"the conversation is longer than {CONVERSATION_CHARACTERS_MAX} characters")
        began = self._clock.monotonic()
        reply, usage = await self._reply(session)
        unfit = _unfit(reply, usage.alias)
        called = session.tools.journal.event(
            "model.called",
            round=conversation.rounds + 1,
            alias=usage.alias,
            seconds=round(self._clock.monotonic() - began, 3),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost=usage.cost,
            finish=reply.finish.value,
            content=shorten(reply.content, EVENT_CHARACTERS_MAX),
            tool_calls=[call.name for call in reply.tool_calls[:100]],
        )
        if unfit is not None:
            await session.tools.journal.sink.emit(called)
            raise unfit
        await self._save(session, conversation.with_answer(reply.content, reply.tool_calls), called)

    async def _reply(self, session: Session) -> tuple[ModelReply, ModelUsage]:
        """The model's answer, from whoever gives one."""
        execution = session.execution
        context = ModelContext(execution.id, execution.agent_name, session.number)
        try:
            return await self._models.ask(
                execution.manifest.runtime.model_alias,
                session.conversation.messages,
                self._tools.specs(execution),
                context,
                session.tools.journal,
            )
        except ModelContextTooLong as error:
            # It grew in this iteration: the next begins with a new one.
            await session.tools.journal.tell("model.failed", reason=error.reason, error=str(error))
            raise IterationFailed(str(error), code=error.code) from error

    async def _save(self, session: Session, conversation: Conversation, *events: Event) -> None:
        """The state, and with it what has led to it: a daemon that dies leaves both or neither."""
        conversation = self._secrets.concealed(conversation)  # also for the model, which is told what is kept
        await self._store.save_inner_loop(session.execution.id, session.number, conversation.to_json(), events)
        session.conversation = conversation
        if events:
            session.tools.journal.wake()

    async def _close(self, session: Session) -> None:
        await session.calls.close()
        if session.step is not None:
            session.step.cancel()
            await asyncio.gather(session.step, return_exceptions=True)
        if not session.ended.done():
            session.ended.cancel()
        elif not session.ended.cancelled():
            session.ended.exception()  # seen: nobody may have waited for it

    def _over(self, session: Session) -> Conflict:
        return Conflict(f"Iteration {session.number} of execution {session.execution.id} is over")


def _taken(session: Session, dispatch: Dispatch, payload: Mapping[str, Any]) -> Event:
    return session.tools.journal.event(
        "dispatch.completed",
        dispatch_id=dispatch.dispatch_id,
        exit_code=payload["exit_code"],
        duration_ms=payload.get("duration_ms"),
        truncated=bool(payload.get("truncated")),
        stdout=shorten(str(payload.get("stdout", "")), TAKEN_EVENT_CHARACTERS, tail_share=TAIL_SHARE),
        stderr=shorten(str(payload.get("stderr", "")), TAKEN_EVENT_CHARACTERS, tail_share=TAIL_SHARE),
        **({"remarks": payload["remarks"]} if payload["remarks"] else {}),
    )


def _unfit(reply: ModelReply, alias: str) -> IterationFailed | None:
    """Why an answer is none to go on with. One that was cut in its calls is: the model is told, and sends less."""
    if reply.finish is Finish.REFUSAL:
        said = f": {shorten(reply.content, REFUSAL_CHARACTERS_MAX)}" if reply.content.strip() else ""
        return IterationFailed(f"model {alias} or its provider's filter refused to answer{said}", code="model_refused")
    if reply.finish is Finish.LENGTH and not reply.tool_calls:
        reason = f"the answer of model {alias} was cut at its limit of tokens (models.{alias}.max_tokens)"
        return IterationFailed(reason, code="model_answer_cut")
    return None


def _seen(step: asyncio.Task[dict[str, Any]]) -> None:
    """A step's failure is kept in the session or taken again; the caller that began it may be gone."""
    if not step.cancelled():
        step.exception()
