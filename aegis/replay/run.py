"""The replay itself: iteration by iteration, the prompts, the loop, the verdict, what follows, and the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aegis.domain import refinement
from aegis.domain.briefing import task_prompt
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.judging import ANSWER_CHARACTERS_MAX, Unreadable, read_opinion
from aegis.domain.manifest import (
    ExitCodeValidator,
    Judge,
    MultiJudgeValidator,
    SemanticValidator,
    StorageClass,
    Validator,
    VolumeSpec,
    judges_of,
)
from aegis.domain.panel import (
    Finding,
    excused,
    exit_code_finding,
    from_opinions,
    in_order,
    judgement,
    label,
    requirement,
    too_few,
)
from aegis.domain.validation import Opinion, Verdict
from aegis.domain.volume import Attachment, Volume, VolumeState
from aegis.errors import Conflict
from aegis.replay.ledger import Difference, Ledger
from aegis.replay.record import Record, RecordedEvent, RecordedIteration
from aegis.replay.tape import RecordEnds, Tape
from aegis.services.executions import outcome_after
from aegis.services.inner_loop import InnerLoop
from aegis.services.outcomes import IterationFailed
from aegis.services.policy import ToolPolicy
from aegis.services.sessions import FinalResponse
from aegis.services.tools import ToolBox
from aegis.services.volumes import MountedVolume

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Report:
    """`difference`: the first; after it nothing was compared any more."""

    decisions: int
    difference: Difference | None


async def replay(record: Record) -> Report:
    """Refused when the record lacks what is needed to decide at all."""
    ledger = Ledger()
    run = _Replay(record, ledger)
    try:
        await run.execution()
    except Difference as difference:
        return Report(ledger.decisions, difference)
    return Report(ledger.decisions, None)


class _Replay:
    def __init__(self, record: Record, ledger: Ledger) -> None:
        self._record = record
        self._ledger = ledger
        self._ground = record.ground
        self._execution = record.as_execution()

    async def execution(self) -> None:
        done: list[Iteration] = []
        plan = self._record.manifest.execution
        for recorded in self._record.execution.iterations:
            where = f"iteration {recorded.number}"
            self._ledger.same(f"{where}, whether there is one", True, outcome_after(plan, done) is None)
            if recorded.ended_at is None:
                return  # it was under way
            done.append(await self._iteration(recorded, where, done[-1].feedback if done else None))
        self._end(done)

    def _end(self, done: Sequence[Iteration]) -> None:
        """Only an end that the verdicts led to is a decision; cancelled and the world's failures came from outside."""
        recorded = self._record.execution
        codes = {"validation_failed", done[-1].error_code} if done else set()
        from_outside = recorded.error_code is not None and recorded.error_code not in codes
        if recorded.state.value not in ("completed", "failed") or from_outside:
            return
        outcome = outcome_after(self._record.manifest.execution, done)
        ended = {"code": recorded.error_code, "error": recorded.error, "output": recorded.output}
        again = None
        if outcome is not None:
            again = {"code": outcome.code, "error": outcome.message, "output": outcome.output}
        self._ledger.same("the end of the execution", ended, again)

    # ---- one iteration ----

    async def _iteration(self, recorded: RecordedIteration, where: str, feedback: str | None) -> Iteration:
        begun = Iteration(self._execution.id, recorded.number, IterationState.RUNNING, recorded.started_at)
        found: FinalResponse | IterationFailed | None = None
        if recorded.number in self._record.conversations:
            found = await self._inner_loop(recorded, where, feedback)
        at = recorded.ended_at or EPOCH
        if isinstance(found, IterationFailed):
            again = refinement.failed(begun, found.reason, found.code, at)
        elif recorded.state is IterationState.FAILED:  # by time, by the container or by the world: as it was
            again = refinement.failed(begun, recorded.error or "", recorded.error_code or "iteration_failed", at)
        elif found is None:
            raise Difference(f"{where}, its end", recorded.state.value, "no final response")
        else:
            again = refinement.judged(begun, self._verdict(recorded, where), at, final=found.content)
            said = {"final": recorded.final, "tool_calls": recorded.tool_calls}
            self._ledger.same(
                f"{where}, final response", said, {"final": found.content, "tool_calls": found.tool_calls_executed}
            )
        self._ledger.same(f"{where}, its end", recorded.state.value, again.state.value)
        self._ledger.same(f"{where}, its error", recorded.error, again.error, echo=True)
        self._ledger.same(f"{where}, feedback", recorded.feedback, again.feedback)
        return again

    async def _inner_loop(
        self, recorded: RecordedIteration, where: str, feedback: str | None
    ) -> FinalResponse | IterationFailed | None:
        """How the loop ends; None: the record breaks off before that."""
        tape = Tape(self._record, recorded.number, self._ledger)
        loop = InnerLoop(
            store=tape,
            models=tape,
            tools=ToolBox(tape.tools(), ToolPolicy(self._ground.security_contexts)),
            gateway=tape,
            events=tape,
            clock=tape,
            rounds_max=self._ground.tool_rounds,
        )
        manifest, number = self._record.manifest, recorded.number
        prompt = task_prompt(manifest, self._execution.input, number, feedback)
        mounted = [_mounted(spec) for spec in manifest.volumes]
        async with loop.session(self._execution, number, prompt, mounted) as session:
            tape.session = session
            for position, name in enumerate(("system prompt", "prompt")):
                was, now = tape.recorded.messages[position], session.conversation.messages[position]
                self._ledger.same(f"{where}, {name}", was.content, now.content)
            try:
                answer = await loop.generate(self._execution.id, {"iteration_number": number})
                while answer["type"] == "dispatch":
                    result = tape.result_of(answer["dispatch_id"])
                    answer = await loop.dispatch_result(self._execution.id, result)
            except RecordEnds:
                return None
            except Conflict:
                return await self._failure(loop, number)
            tape.finish()
            return FinalResponse(answer["content"], answer["tool_calls_executed"])

    async def _failure(self, loop: InnerLoop, number: int) -> IterationFailed:
        try:
            await loop.wait_final(self._execution, number)
        except IterationFailed as failure:
            return failure
        raise AssertionError("the loop was over, and says that it was not")

    # ---- the verdict ----

    def _verdict(self, recorded: RecordedIteration, where: str) -> Verdict:
        told = {each.validator: each.judgement() for each in recorded.judgements}
        judgements = []
        for position, validator in in_order(self._record.manifest.execution.validators):
            name = label(position, validator)
            was = told.pop(name, None)
            if was is None:
                raise Difference(f"{where}, {name}", None, "asked")
            finding = self._finding(recorded, validator, name, Finding(was.score, was.reason, was.confidence))
            again = judgement(position, validator, finding)
            self._ledger.same(f"{where}, {name}", asdict(was), asdict(again))
            judgements.append(again)
            if not again.passed:
                break
        self._ledger.same(f"{where}, validators that were not to be asked", sorted(told), [], echo=True)
        return Verdict(tuple(judgements))

    def _finding(self, recorded: RecordedIteration, validator: Validator, name: str, as_told: Finding) -> Finding:
        if isinstance(validator, ExitCodeValidator):
            return exit_code_finding(validator, recorded.exit_code)
        if not isinstance(validator, SemanticValidator | MultiJudgeValidator):
            return as_told
        events = [
            each
            for each in self._record.events
            if each.iteration == recorded.number and each.kind.startswith("judge.") and each.data["validator"] == name
        ]
        if not events:
            return as_told  # there was nothing to show to a judge
        judges = judges_of(validator)
        opinions = [found for each in judges if (found := self._opinion(each, events)) is not None]
        if len(opinions) >= requirement(validator):
            return from_opinions(validator, opinions)
        errors = {each.data["judge"]: str(each.data["error"]) for each in events if each.kind == "judge.failed"}
        failures = [errors[judge.shown] for judge in judges if judge.shown in errors]
        return excused(too_few(validator, name, len(opinions), failures))

    def _opinion(self, judge: Judge, events: Sequence[RecordedEvent]) -> Opinion | None:
        """Its answers read again, those that could not be used as well."""
        opinion = None
        for event in events:
            data = event.data
            if data["judge"] == judge.shown and event.kind == "judge.failed":
                opinion = None  # its time was over while its answer was being written down
            if data["judge"] != judge.shown or event.kind not in ("judge.answered", "judge.unusable"):
                continue
            read: dict[str, Any] = {}
            try:
                opinion = read_opinion(judge.shown, str(data["answer"]), judge.weight)
                read = {key: getattr(opinion, key) for key in ("score", "confidence", "reasoning")}
            except Unreadable as error:
                read = {"reason": str(error)}
            if len(str(data["answer"])) < ANSWER_CHARACTERS_MAX:  # a longer one was cut for the event
                where = f"iteration {event.iteration}, {event.kind} of {judge.shown}"
                self._ledger.same(where, {key: data.get(key) for key in read}, read)
        return opinion


def _mounted(spec: VolumeSpec) -> MountedVolume:
    """A volume of which nothing is needed but where it was mounted."""
    volume = Volume("", "", spec.name, StorageClass.EPHEMERAL, VolumeState.ATTACHED, EPOCH)
    attachment = Attachment("", "", "", spec.access_mode, spec.mount_path, 0, 0, "", "", EPOCH)
    return MountedVolume(spec, volume, attachment, "")
