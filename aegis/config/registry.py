"""`runtime-registry.yaml`: which image a language's version is.

There is no fallback to another version: an agent that asks for what the table does not have is refused, and told what
the table has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from aegis.config.load import read_bytes_of
from aegis.documents.build import build
from aegis.documents.names import IMAGE, VARIABLE_VALUE, check_variable
from aegis.documents.problems import ConfigError, DocumentError, Note
from aegis.documents.readers import ANYTHING, BOOLEAN, TEXT, Mistake, choice
from aegis.documents.source import parse
from aegis.documents.table import Field, Table, Walk
from aegis.errors import Refused

BUILT_IN = "runtime-registry.yaml"


class RuntimeImage(BaseModel):
    """`environment`: what the image needs set beside what the manifest sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    description: str = ""
    deprecated: bool = False
    environment: dict[str, str] = {}


class _Runtimes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    runtimes: dict[str, dict[str, RuntimeImage]]


@dataclass(frozen=True, slots=True)
class RuntimeRegistry:
    runtimes: dict[str, dict[str, RuntimeImage]]
    notes: tuple[Note, ...] = field(default=())

    def resolve(self, language: str, version: str) -> RuntimeImage:
        """Refused names what there is."""
        versions = self.runtimes.get(language)
        if versions is None:
            known = ", ".join(sorted(self.runtimes)) or "none"
            raise Refused(f"no runtime for the language {language}", next_step=f"Known languages: {known}")
        if version not in versions:
            known = ", ".join(sorted(versions, key=_version_key))
            raise Refused(f"no runtime for {language} {version}", next_step=f"Known versions: {known}")
        return versions[version]


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", version))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}", name):
        raise Mistake('a version ("3.11")', found=f"the name {name[:80]!r}")


def _rows(prefix: str) -> tuple[Field, ...]:
    entry, target = f"{prefix}runtimes.*.*", "runtimes.*.*"
    return (
        Field(f"{entry}.image", f"{target}.image", IMAGE, "The image.", key=_check_name),
        Field(f"{entry}.description", f"{target}.description", TEXT, "For people."),
        Field(f"{entry}.deprecated", f"{target}.deprecated", BOOLEAN, "It still runs, with a warning."),
        Field(f"{entry}.bootstrap_env.*", f"{target}.environment.*", VARIABLE_VALUE, "Set too.", key=check_variable),
        Field(f"{prefix}registry_url", "", ANYTHING, "images are named in full instead", noted=True),
    )


_TABLE = Table(
    (
        Field("apiVersion", "~apiVersion", choice(["100monkeys.ai/v1", "aegis.ai/v1"])),
        Field("kind", "~kind", choice(["RuntimeRegistry"])),
        Field("metadata", "~metadata", ANYTHING),
        *_rows("spec."),
        *_rows(""),
    )
)


def load_registry(path: str | None) -> RuntimeRegistry:
    """The registry from `path`, or the one that comes with the daemon. ConfigError with every problem at once."""
    if path is None:
        text = resources.files("aegis.config").joinpath(BUILT_IN).read_text(encoding="utf-8")
        return read_registry(text, f"built-in {BUILT_IN}")
    return read_registry(read_bytes_of(Path(path)), path)


def read_registry(text: str, source: str) -> RuntimeRegistry:
    """ConfigError with every problem at once."""
    try:
        root, problems = parse(text, source)
    except DocumentError as error:
        raise ConfigError(source, error.problems, text) from None
    reading = Walk(_TABLE, source).read(root)
    model = build(_Runtimes, _TABLE, reading)
    problems = [*problems, *reading.problems]
    if problems or model is None:
        raise ConfigError(source, problems, text)
    return RuntimeRegistry(model.runtimes, tuple(reading.notes))
