"""What a provider's failure means, in one place for both SDKs: they are made by one generator and have the same shape.

The rules to know: a message names alias, provider and status, and never the key, neither ours nor the part of it that a
provider repeats. The SDKs repeat nothing by themselves (`max_retries=0`): they would do it unseen, on top of
`aegis.services.model_calls`, and not for a stream that is cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from aegis.errors import ModelContextTooLong, ModelFailed

RETRYABLE = frozenset({408, 409, 425, 429})  # besides every 5xx
DETAIL_CHARACTERS_MAX = 300
KEY_LIKE = re.compile(r"\b(?:sk|key|xai|gsk|AIza)[-_][A-Za-z0-9*._-]{4,}")
# OpenAI, vLLM: "maximum context length"; Anthropic: "prompt is too long", "exceed context limit"; llama.cpp: "context
# size"; LM Studio: "context overflows"; others name the window.
TOO_LONG = re.compile(
    r"context[_ ](?:length|size|window|limit|overflow)|prompt is too long|maximum context|too many (?:input )?tokens",
    re.IGNORECASE,
)
TOO_LONG_STATUSES = frozenset({400, 413, 422, 500})  # llama.cpp has answered 500
SPENT = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached"})  # a 429 that does not pass
REASONS = {401: "credentials", 403: "credentials", 404: "not_found", 408: "timeout", 429: "rate_limited"}
NEXT_STEPS = {
    401: "Check the key: models.{alias}.api_key, usually an env: reference to OPENAI_API_KEY or ANTHROPIC_API_KEY",
    403: "The key may not use this model: choose another models.{alias}.model, or another key",
    404: "There is no such model or address: check models.{alias}.model and models.{alias}.base_url",
    429: "The provider limits this key's rate or budget: wait, raise the limit there, or set models.{alias}.fallback",
}


class Provider:
    """One alias' identity, for messages. `secrets` are texts that must never be in one."""

    def __init__(self, provider: str, alias: str, address: str, secrets: tuple[str, ...] = ()) -> None:
        self.provider = provider
        self.alias = alias
        self.address = address
        self._secrets = tuple(secret for secret in secrets if secret)

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return KEY_LIKE.sub("***", " ".join(text.split()))[:DETAIL_CHARACTERS_MAX]

    def answered(
        self, status: int, detail: str, *, code: str = "", headers: Mapping[str, str] | None = None
    ) -> ModelFailed:
        """The provider answered with an error. `code` is its own word for it (`context_length_exceeded`)."""
        said = f"HTTP {status}: {self.clean(detail)}"
        if status == 413 or (status in TOO_LONG_STATUSES and TOO_LONG.search(f"{code} {detail}")):
            return self.too_long(said)
        headers = headers or {}
        retryable = (status in RETRYABLE or status >= 500) and code not in SPENT
        if headers.get("x-should-retry") == "false":  # OpenAI's and Anthropic's own word, as their SDKs take it
            retryable = False
        return ModelFailed(
            f"Model {self.alias} ({self.provider}): {said}",
            next_step=NEXT_STEPS.get(status, "").format(alias=self.alias),
            retryable=retryable,
            reason=REASONS.get(status, "overloaded" if status >= 500 else "rejected"),
            retry_after_seconds=retry_after(headers, datetime.now(UTC)) if retryable else None,
        )

    def too_long(self, detail: str) -> ModelContextTooLong:
        return ModelContextTooLong(
            f"Model {self.alias} ({self.provider}): the conversation is too long for its context: {self.clean(detail)}",
            next_step=f"Use a model with a larger context, or name one as models.{self.alias}.fallback",
            reason="context_too_long",
        )

    def silent(self, detail: str, *, reason: str = "unreachable") -> ModelFailed:
        """Nothing usable came from the address."""
        return ModelFailed(
            f"Model {self.alias} ({self.provider}) does not answer at {self.address}: {self.clean(detail)}",
            next_step=f"Check that it runs and that models.{self.alias}.base_url is right",
            reason=reason,
        )

    def late(self, seconds: float) -> ModelFailed:
        return ModelFailed(
            f"Model {self.alias} ({self.provider}) has not answered completely within {seconds:g} s at {self.address}",
            next_step=f"Raise models.{self.alias}.timeout if its answers take longer",
            reason="timeout",
        )

    def cut(self, detail: str) -> ModelFailed:
        """A stream that ended before the answer did: nothing of it is taken."""
        return ModelFailed(
            f"Model {self.alias} ({self.provider}): the answer broke off: {self.clean(detail)}", reason="stream_cut"
        )

    def unusable(self, detail: str) -> ModelFailed:
        """An answer that is none: the next try may be better, models being what they are."""
        return ModelFailed(f"Model {self.alias} ({self.provider}) answered what cannot be used: {self.clean(detail)}")


def error_of(body: Any) -> tuple[str, str]:
    """The code and the message of an error's body: `{"error": {"type", "code", "message"}}`, or that inner object."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(inner, dict):
        return "", inner if isinstance(inner, str) else ""
    code, message = inner.get("code") or inner.get("type") or "", inner.get("message") or ""
    return str(code), str(message)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds from `now` (RFC 9110 section 10.2.3: seconds or an HTTP date; `retry-after-ms` is OpenAI's); None: none
    that can be read. The wait is bounded by who waits."""
    milliseconds, text = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    for value, scale in ((milliseconds, 1000.0), (text, 1.0)):
        if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", value.strip()):
            return float(value) / scale
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
