"""The node's aliases: each name to one model, made once and closed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aegis.adapters.llm.settings import ModelSettings
from aegis.errors import NotFound, Refused
from aegis.ports import LanguageModel, ModelTerms


class Models:
    """`aegis.ports.LanguageModels`. A wrong setting is Refused when it is made, at the daemon's start."""

    def __init__(self, settings: Mapping[str, ModelSettings], terms: Mapping[str, ModelTerms] | None = None) -> None:
        self._models = {alias: create_model(alias, one) for alias, one in settings.items()}
        self._terms = dict(terms or {})

    def get(self, alias: str) -> LanguageModel:
        """NotFound names the aliases there are."""
        try:
            return self._models[alias]
        except KeyError:
            known = ", ".join(self.aliases) or "none"
            raise NotFound(
                f"There is no model alias {alias}",
                next_step=f"Add models.{alias} to the configuration; there are: {known}",
            ) from None

    def terms(self, alias: str) -> ModelTerms:
        self.get(alias)
        return self._terms.get(alias, ModelTerms())

    @property
    def aliases(self) -> Sequence[str]:
        return sorted(self._models)

    async def close(self) -> None:
        for model in self._models.values():
            await model.close()


def create_model(alias: str, settings: ModelSettings) -> LanguageModel:
    """The SDKs take 0.6 s each to import: a node pays for those it uses."""
    if settings.provider == "openai":
        from aegis.adapters.llm.openai import OpenAIModel

        return OpenAIModel(alias, settings)
    if settings.provider == "anthropic":
        from aegis.adapters.llm.anthropic import AnthropicModel

        return AnthropicModel(alias, settings)
    from aegis.adapters.llm.script import ScriptModel

    if not settings.script:
        raise Refused(f"Model alias {alias} names no script", next_step=f"Set models.{alias}.script to a file's path")
    return ScriptModel(alias, settings.script, timeout_seconds=settings.timeout_seconds)
