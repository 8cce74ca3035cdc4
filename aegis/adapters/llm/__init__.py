"""Language models behind the `LanguageModels` port: OpenAI and what is compatible, Anthropic, and a script."""

from __future__ import annotations

from aegis.adapters.llm.registry import Models
from aegis.adapters.llm.settings import ModelSettings

__all__ = ["Models", "ModelSettings"]
