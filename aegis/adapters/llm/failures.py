"""What a provider's failure means, in one place for both SDKs: they are made by one generator and have the same shape.

A message names alias, provider and status, and never the key: neither ours nor the part of it that a provider repeats.
"""

from __future__ import annotations

import re

from aegis.errors import ModelFailed

RETRYABLE = frozenset({408, 409, 425, 429})  # besides every 5xx
DETAIL_CHARACTERS_MAX = 300
KEY_LIKE = re.compile(r"\b(?:sk|key|xai|gsk|AIza)[-_][A-Za-z0-9*._-]{4,}")
NEXT_STEPS = {
    401: "Check the key: models.{alias}.api_key, usually an env: reference to OPENAI_API_KEY or ANTHROPIC_API_KEY",
    403: "The key may not use this model: choose another models.{alias}.model, or another key",
    404: "There is no such model or address: check models.{alias}.model and models.{alias}.base_url",
    413: "The conversation is too long for this model: use one with a larger context",
    429: "The provider limits this key's rate or budget: wait, or raise the limit there",
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

    def answered(self, status: int, detail: str) -> ModelFailed:
        """The provider answered with an error."""
        next_step = NEXT_STEPS.get(status, "").format(alias=self.alias)
        return ModelFailed(
            f"Model {self.alias} ({self.provider}): HTTP {status}: {self.clean(detail)}",
            next_step=next_step,
            retryable=status in RETRYABLE or status >= 500,
        )

    def silent(self, detail: str) -> ModelFailed:
        """Nothing usable came from the address."""
        return ModelFailed(
            f"Model {self.alias} ({self.provider}) does not answer at {self.address}: {self.clean(detail)}",
            next_step=f"Check that it runs and that models.{self.alias}.base_url is right",
        )

    def unusable(self, detail: str) -> ModelFailed:
        """An answer that is none: the next try may be better, models being what they are."""
        return ModelFailed(f"Model {self.alias} ({self.provider}) answered what cannot be used: {self.clean(detail)}")
