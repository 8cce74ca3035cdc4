"""One answer of a model: tried again while that may help, taken from the alias' fallback when it does not, and counted.

The rules to know:
- Everything that asks a model asks through here. Adapters make one attempt and repeat nothing.
- A provider that says when to come back (Retry-After) is waited for, if that is at most `RETRY_AFTER_SECONDS_MAX`.
- A failure that leaves `ask` is final: all that might have helped has been tried, so nobody above tries again.
- No secret that was given to an agent is in what a model is asked, whoever put the question together.
- What was used is stored before the answer is: a daemon that dies between the two asks again, and has paid twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from aegis.errors import ModelContextTooLong, ModelFailed, WorldError
from aegis.ports import (
    Clock,
    LanguageModels,
    Message,
    ModelContext,
    ModelMeter,
    ModelReply,
    ModelUsage,
    Store,
    ToolSpec,
)
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.recorder import Journal
from aegis.services.timing import Retries, retried

RETRY_AFTER_SECONDS_MAX: Final = 120.0
REST_SECONDS: Final = 60.0  # an alias that was given up on is passed over for so long, where it has a fallback


class NoMeter:
    """Counts nothing."""

    def answered(self, alias: str, usage: ModelUsage, seconds: float) -> None: ...

    def failed(self, alias: str, reason: str) -> None: ...

    def fell_back(self, alias: str, to: str) -> None: ...


class ModelCalls:
    def __init__(
        self,
        *,
        store: Store,
        models: LanguageModels,
        clock: Clock,
        meter: ModelMeter | None = None,
        secrets: AgentSecrets | None = None,
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._models = models
        self._clock = clock
        self._meter: ModelMeter = meter or NoMeter()
        self._retries = retries
        self._secrets = secrets or AgentSecrets()
        self._resting: dict[str, float] = {}  # alias -> until when; at most one entry an alias

    async def ask(
        self,
        alias: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        context: ModelContext,
        journal: Journal,
    ) -> tuple[ModelReply, ModelUsage]:
        """The answer of `alias` or of the first of its fallbacks that gives one, and what it cost.

        NotFound for an alias that is not there; ModelContextTooLong when the conversation fits none of them;
        ModelFailed, not to be tried again, otherwise."""
        messages = self._secrets.concealed(tuple(messages))
        while True:
            fallback = self._models.terms(alias).fallback
            if fallback is not None and self._rests(alias):
                alias = fallback
                continue
            try:
                return await self._from(alias, messages, tools, context, journal)
            except ModelFailed as error:
                if fallback is None:
                    raise
                if not isinstance(error, ModelContextTooLong):
                    self._resting[alias] = self._clock.monotonic() + REST_SECONDS
                self._meter.fell_back(alias, fallback)
                await journal.tell(
                    "model.fallback", alias=alias, fallback=fallback, reason=error.reason, error=str(error)
                )
                alias = fallback

    def _rests(self, alias: str) -> bool:
        return self._clock.monotonic() < self._resting.get(alias, 0.0)

    async def _from(
        self,
        alias: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        context: ModelContext,
        journal: Journal,
    ) -> tuple[ModelReply, ModelUsage]:
        model, terms = self._models.get(alias), self._models.terms(alias)
        attempt = 0

        async def once() -> ModelReply:
            nonlocal attempt
            attempt += 1
            try:
                return await model.complete(messages, tools, replace(context, attempt=attempt))
            except ModelFailed as error:
                self._meter.failed(alias, error.reason)
                raise

        async def tell(error: WorldError, pause: float) -> None:
            await journal.tell(
                "model.failed",
                alias=alias,
                reason=getattr(error, "reason", error.code),
                error=str(error),
                attempt=attempt,
                attempts_max=terms.attempts_max,
                retry_in_seconds=round(pause, 1),
            )

        began = self._clock.monotonic()
        retries = replace(
            self._retries, attempts_max=terms.attempts_max, retry_after_seconds_max=RETRY_AFTER_SECONDS_MAX
        )
        try:
            reply = await retried(self._clock, retries, once, before_pause=tell)
        except ModelFailed as error:
            raise _final(error, attempt) from error
        cost = None if terms.price is None else terms.price.of(reply.input_tokens, reply.output_tokens)
        usage = ModelUsage(context.iteration, alias, 1, reply.input_tokens, reply.output_tokens, cost)
        self._meter.answered(alias, usage, self._clock.monotonic() - began)
        await self._store.add_usage(context.execution_id, usage)
        return reply, usage


def _final(error: ModelFailed, attempts: int) -> ModelFailed:
    """The same failure, said once and for all."""
    if not error.retryable:
        return error
    wanted = error.retry_after_seconds or 0.0
    if wanted > RETRY_AFTER_SECONDS_MAX:
        said = f"it wants {wanted:.0f} s of patience, more than {RETRY_AFTER_SECONDS_MAX:.0f} s"
    else:
        said = f"given up after {attempts} attempts"
    return type(error)(f"{error.message} ({said})", next_step=error.next_step, retryable=False, reason=error.reason)
