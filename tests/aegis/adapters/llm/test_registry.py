from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.adapters.llm import Models, ModelSettings
from aegis.adapters.llm.names import ToolNames
from aegis.errors import NotFound, Refused
from tests.support.fake_providers import NAME


async def test_an_unknown_alias_names_those_there_are(tmp_path: Path) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("iterations: [{turns: [{content: x}]}]")
    models = Models({"default": ModelSettings(provider="script", script=str(script))})
    assert models.aliases == ["default"]
    assert models.get("default") is models.get("default")
    with pytest.raises(NotFound, match=r"no model alias fast.*there are: default"):
        models.get("fast")
    await models.close()


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (ModelSettings(provider="openai"), "models.a.model"),
        (ModelSettings(provider="openai", model="m"), "models.a.api_key"),
        (ModelSettings(provider="anthropic", model="m"), "models.a.api_key"),
        (ModelSettings(provider="script"), "models.a.script"),
    ],
)
def test_a_setting_that_is_missing_is_named_at_the_start(settings: ModelSettings, missing: str) -> None:
    with pytest.raises(Refused, match=missing):
        Models({"a": settings})


def test_a_key_is_not_in_the_settings_text() -> None:
    assert "hunter2" not in repr(ModelSettings(provider="openai", api_key="hunter2"))


@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=20))
def test_any_set_of_tool_names_maps_one_to_one(names: list[str]) -> None:
    mapping = ToolNames(names)
    wires = [mapping.wire(name) for name in names]
    assert len(set(wires)) == len(names)
    assert all(NAME.fullmatch(wire) for wire in wires)
    assert [mapping.ours(wire) for wire in wires] == names
