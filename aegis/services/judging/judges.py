"""Judges: a model asked, or an agent run, for an opinion; all of a validator at once, each within its own time.

The rules to know: a judge that fails is never a bad score. Its answer is kept as it came (`judge.answered`), so that a
verdict can be reached again from the events. It gets a second chance for an answer that cannot be used, and no third.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from aegis.domain.judging import (
    ANSWER_CHARACTERS_MAX,
    SYSTEM,
    Earlier,
    Question,
    Unreadable,
    question_text,
    read_opinion,
    repair,
)
from aegis.domain.manifest import DEFAULT_MODEL, Judge, MultiJudgeValidator, SemanticValidator, judges_of
from aegis.domain.panel import Finding, excused, from_opinions, requirement, too_few
from aegis.domain.text import shorten
from aegis.domain.validation import Opinion
from aegis.errors import JudgeFailed, ModelFailed, NotFound
from aegis.ports import Clock, Message, ModelContext
from aegis.services.judging.candidate import Candidate
from aegis.services.model_calls import ModelCalls
from aegis.services.timing import within

EVENT_ANSWER_CHARACTERS_MAX: Final = ANSWER_CHARACTERS_MAX  # whole, as far as it can be used
ATTEMPTS: Final = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A judge's words and what they cost; `execution_id`: of the child execution that said them."""

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    execution_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """The answer of a judge that could not be used, and why."""

    answer: str
    why: str


class Agents(Protocol):
    """Runs a deployed agent as a judge: `agents.JudgeAgents`."""

    async def answer(self, agent: str, text: str, candidate: Candidate, label: str) -> Answer:
        """Its final response. JudgeFailed; when it returns or is cancelled, nothing of the child runs any more."""
        ...


class Judges:
    def __init__(
        self,
        *,
        models: ModelCalls,
        agents: Agents,
        clock: Clock,
    ) -> None:
        self._models = models
        self._agents = agents
        self._clock = clock

    async def find(
        self,
        validator: SemanticValidator | MultiJudgeValidator,
        label: str,
        candidate: Candidate,
        earlier: Sequence[Earlier],
    ) -> Finding:
        """What the validator's judges say together. Unusable: a target is not there; JudgeFailed: too few answered."""
        question = Question(
            instruction=candidate.execution.manifest.instruction.strip(),
            input=candidate.execution.input.strip(),
            output=candidate.final,
            exit_code=candidate.exit_code,
            iteration=candidate.iteration,
            files=[(path, (await candidate.target(path))[1]) for path in validator.targets],
            earlier=earlier,
        )
        judges = judges_of(validator)
        asking = [self._asked(judge, validator, label, question, candidate) for judge in judges]
        answers = await _all(asking, f"judges of {label}")
        opinions = [each for each in answers if isinstance(each, Opinion)]
        if len(opinions) >= requirement(validator):
            return from_opinions(validator, opinions)
        failures = [str(each) for each in answers if isinstance(each, JudgeFailed)]
        why = too_few(validator, label, len(opinions), failures)
        if validator.fallback_on_unavailable:
            return excused(why)
        raise JudgeFailed(why)

    async def _asked(
        self,
        judge: Judge,
        validator: SemanticValidator | MultiJudgeValidator,
        label: str,
        question: Question,
        candidate: Candidate,
    ) -> Opinion | JudgeFailed:
        text = question_text(question, judge.criteria or validator.criteria)
        seconds = validator.timeout_seconds
        try:
            work = self._opinion(judge, text, label, candidate)
            return await within(self._clock, seconds, work, f"judge {judge.shown} of {label}")
        except TimeoutError:
            failure = JudgeFailed(f"judge {judge.shown} has not answered within {seconds:g} s")
        except JudgeFailed as error:
            failure = error
        await candidate.journal.tell("judge.failed", validator=label, judge=judge.shown, error=str(failure))
        return failure

    async def _opinion(self, judge: Judge, text: str, label: str, candidate: Candidate) -> Opinion:
        """JudgeFailed after a second answer that cannot be used."""
        fault: Fault | None = None
        for attempt in range(1, ATTEMPTS + 1):
            began = self._clock.monotonic()
            answer = await self._answer(judge, text, fault, label, candidate)
            said = {
                "validator": label,
                "judge": judge.shown,
                "attempt": attempt,
                "seconds": round(self._clock.monotonic() - began, 3),
                "input_tokens": answer.input_tokens,
                "output_tokens": answer.output_tokens,
                "answer": shorten(answer.text, EVENT_ANSWER_CHARACTERS_MAX),
                **({"execution_id": answer.execution_id} if answer.execution_id else {}),
            }
            try:
                opinion = read_opinion(judge.shown, answer.text, judge.weight)
            except Unreadable as error:
                fault = Fault(answer.text, str(error))
                await candidate.journal.tell("judge.unusable", **said, reason=fault.why)
                continue
            await candidate.journal.tell(
                "judge.answered",
                **said,
                score=opinion.score,
                confidence=opinion.confidence,
                weight=opinion.weight,
                reasoning=opinion.reasoning,
            )
            return opinion
        assert fault is not None
        raise JudgeFailed(f"judge {judge.shown} gave {ATTEMPTS} answers that cannot be used: {fault.why}")

    async def _answer(self, judge: Judge, text: str, fault: Fault | None, label: str, candidate: Candidate) -> Answer:
        if judge.agent is not None:
            asked = text if fault is None else f"{text}\n\n{repair(fault.why)}"
            return await self._agents.answer(judge.agent, f"{SYSTEM}\n\n{asked}", candidate, label)
        messages = [Message("system", SYSTEM), Message("user", text)]
        if fault is not None:
            messages += [Message("assistant", fault.answer), Message("user", repair(fault.why))]
        context = ModelContext(candidate.execution.id, judge.shown, candidate.iteration)
        try:
            alias = judge.model_alias or DEFAULT_MODEL
            reply, _ = await self._models.ask(alias, messages, [], context, candidate.journal)
        except (ModelFailed, NotFound) as error:
            raise JudgeFailed(f"judge {judge.shown}: {error}") from error
        return Answer(reply.content, reply.input_tokens, reply.output_tokens)


async def _all(work: Sequence[Coroutine[Any, Any, T]], name: str) -> list[T]:
    """Their results, in order. When one raises or the caller is cancelled, nothing of the others runs on."""
    tasks = [asyncio.create_task(each, name=name) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
