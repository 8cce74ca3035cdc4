"""One alias' settings, as plain values: the daemon copies them from its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DEFAULT_MAX_TOKENS = 8192  # Anthropic's API demands a number


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """`script` is a path, for the provider of that name only; `model` is for the other two."""

    provider: Literal["openai", "anthropic", "script"]
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    script: str | None = None
    timeout_seconds: float = 300.0  # of one attempt, to the end of its answer
    stream: bool = True
    max_tokens: int | None = None
    temperature: float | None = None
