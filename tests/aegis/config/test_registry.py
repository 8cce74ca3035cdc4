"""`runtime-registry.yaml`: a language's version is exactly the image the table names, or it is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aegis.adapters.docker.references import parse
from aegis.config.registry import BUILT_IN, load_registry, read_registry
from aegis.documents import ConfigError
from aegis.errors import Refused

ROOT = Path(__file__).resolve().parents[3]


def test_the_built_in_registry_knows_the_documented_languages() -> None:
    registry = load_registry(None)
    assert registry.resolve("python", "3.11").image == "python:3.11-slim"
    assert registry.resolve("typescript", "5.1").environment == {"TYPESCRIPT_VERSION": "5.1"}
    assert registry.resolve("node", "22") == registry.resolve("javascript", "22")
    assert set(registry.runtimes) == {
        *("python", "javascript", "node", "typescript", "go", "rust"),
        *("ruby", "java", "php", "bash", "alpine", "debian"),
    }


def test_every_image_of_the_built_in_registry_is_named_in_full_and_none_floats() -> None:
    for versions in load_registry(None).runtimes.values():
        for runtime in versions.values():
            assert re.search(r":[0-9]+(\.[0-9]+)?(-|$)", str(parse(runtime.image))), runtime.image


def test_an_image_may_be_pinned() -> None:
    pinned = f"python@sha256:{'ab' * 32}"
    registry = read_registry(f"runtimes: {{python: {{'3.11': {{image: '{pinned}'}}}}}}", "r.yaml")
    assert registry.resolve("python", "3.11").image == pinned


def test_the_example_that_is_shipped_is_the_built_in_one() -> None:
    shipped = (ROOT / "deploy" / BUILT_IN).read_text(encoding="utf-8")
    assert shipped == (ROOT / "aegis" / "config" / BUILT_IN).read_text(encoding="utf-8")


def test_a_version_that_is_not_there_is_refused_with_those_that_are_in_order() -> None:
    with pytest.raises(Refused, match=r"python 2\.7.*Known versions: 3\.9, 3\.10, 3\.11"):
        load_registry(None).resolve("python", "2.7")


def test_a_language_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        Refused,
        match="Known languages: alpine, bash, debian, go, java, javascript, node, php, python, ruby, rust, typescript",
    ):
        load_registry(None).resolve("cobol", "85")


def test_a_version_without_quotes_is_the_text_that_was_written() -> None:
    registry = read_registry("runtimes: {python: {3.10: {image: 'python:3.10'}}}", "r.yaml")
    assert registry.resolve("python", "3.10").image == "python:3.10"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "runtimes: found nothing"),
        ("runtimes: {python: {'3.1': {}}}", "found an empty mapping"),
        ("runtimes: {python: {'3.1': {description: a}}}", "runtimes.python.3.1.image: found nothing"),
        ("runtimes: {python: {'3.1': {image: 'A B'}}}", "an image reference"),
        ("runtimes: {python: {'3.1': {image: a, tag: b}}}", "the unknown key tag"),
        ("kind: Agent\nruntimes: {}", "wanted RuntimeRegistry"),
    ],
)
def test_a_registry_that_cannot_be_used_says_where(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_registry(text, "r.yaml")
    assert said in str(caught.value)


def test_a_registry_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_registry(str(tmp_path / "r.yaml"))
