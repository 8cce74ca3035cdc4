"""Finding the node's configuration and reading it, from the environment and from at most one file.

What counts, in this order: the option's environment variable, the file, variables of other programs (`DATABASE_URL`,
`DOCKER_HOST`, `STATE_DIRECTORY`), the default. Nothing here writes, and nothing is read after the start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from aegis.config import checks
from aegis.config.derive import derive
from aegis.config.model import NodeConfig, SecretStore
from aegis.config.references import References, SecretOpener, no_secret_store
from aegis.config.table import BARE_TABLE, ENVELOPE_TABLE, VARIABLES
from aegis.documents import nodes
from aegis.documents.build import Row, build, explain
from aegis.documents.problems import ConfigError, DocumentError, Note, Problem
from aegis.documents.source import SIZE_CHARACTERS_MAX, parse, read_bytes
from aegis.documents.table import Reading, Table, Walk

BUILT_IN = "built-in defaults"
PATH_VARIABLE = "AEGIS_CONFIG_PATH"


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """`source`: the file's path, or `BUILT_IN`. `explanation`: every value and where it came from, secrets masked."""

    config: NodeConfig
    source: str
    explanation: tuple[Row, ...]
    notes: tuple[Note, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)  # what came by `secret:`, wherever it stands


def load_config(
    path: Path | None, environ: Mapping[str, str], *, secrets: SecretOpener = no_secret_store
) -> LoadedConfig:
    """The configuration from `path`, or from the first file there is (see `find_config`). `secrets` opens the store
    that the configuration names, when the first `secret:` is met; it blocks.

    ConfigError with every problem at once: a file that was named and cannot be read is one.
    """
    found = path or find_config(environ)
    if found is None:
        return read_config("{}", BUILT_IN, environ, base_directory=os.getcwd(), secrets=secrets)
    source = str(found)
    text = read_bytes_of(found)
    return read_config(text, source, environ, base_directory=str(found.absolute().parent), secrets=secrets)


def find_config(environ: Mapping[str, str]) -> Path | None:
    """`AEGIS_CONFIG_PATH` (whether it exists or not), else the first file that exists; None: there is none."""
    if environ.get(PATH_VARIABLE):
        return Path(environ[PATH_VARIABLE])
    candidates = [Path("aegis-config.yaml")]
    if environ.get("HOME"):
        candidates.append(Path(environ["HOME"]) / ".aegis" / "config.yaml")
    candidates.append(Path("/etc/aegis/config.yaml"))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def read_bytes_of(path: Path) -> str:
    """A file's text. ConfigError when it cannot be had."""
    try:
        with path.open("rb") as file:
            data = file.read(4 * SIZE_CHARACTERS_MAX + 1)  # the most that so many characters can take
        return read_bytes(data, str(path))
    except OSError as error:
        problem = Problem("(the file)", 0, 0, error.strerror or str(error), "a file that can be read")
        raise ConfigError(str(path), [problem]) from None
    except DocumentError as error:
        raise ConfigError(str(path), error.problems) from None


def read_config(
    text: str,
    source: str,
    environ: Mapping[str, str],
    *,
    base_directory: str,
    secrets: SecretOpener = no_secret_store,
) -> LoadedConfig:
    """Read a configuration's text, in the `kind: NodeConfig` form or the bare one."""
    try:
        root, problems = parse(text, source)
    except DocumentError as error:
        # Without the text: where YAML ends nobody knows which line holds a secret.
        raise ConfigError(source, error.problems) from None
    table = ENVELOPE_TABLE if _has_envelope(root) else BARE_TABLE
    # A key written twice, a value that is no number: found before anybody knows which keys hold secrets.
    problems = [replace(problem, secret=True) for problem in problems]
    references = References(environ, _store(root, table, source, environ, base_directory), secrets)
    reading = _walked(root, table, source, environ, references)
    derive(reading, environ, base_directory)
    checks.check(reading, environ)
    config = build(NodeConfig, table, reading)
    problems = _without_secrets([*problems, *reading.problems], reading)
    if problems or config is None:
        raise ConfigError(source, problems, text)
    rows, notes = explain(config, reading), tuple(reading.notes)
    return LoadedConfig(config, source, rows, notes, references.secrets)


def _walked(root: nodes.Node, table: Table, source: str, environ: Mapping[str, str], references: References) -> Reading:
    walk = Walk(table, source, resolve=references.resolve, guarded=True)
    reading = walk.read(root)
    for name, row in VARIABLES.items():
        if environ.get(name):
            walk.read_outside(row, environ[name], f"environment {name}")
    return reading


def _store(
    root: nodes.Node, table: Table, source: str, environ: Mapping[str, str], base_directory: str
) -> SecretStore | None:
    """Where secrets are, which has to be known before the rest is read: from a first reading, whose problems the second
    one finds again."""
    reading = _walked(root, table, source, environ, References(environ))
    derive(reading, environ, base_directory)
    said = {path[1]: each.value for path, each in reading.said.items() if path[0] == "secrets" and len(path) == 2}
    try:
        return SecretStore.model_validate(said)
    except ValidationError:
        return None


def _without_secrets(problems: list[Problem], reading: Reading) -> list[Problem]:
    """A problem's line is not shown when a secret stands in it as well (`{url: ..., api_key: ...}`)."""
    lines = reading.secret_lines
    return [replace(problem, secret=True) if problem.line in lines else problem for problem in problems]


def _has_envelope(root: nodes.Node) -> bool:
    return isinstance(root, nodes.Mapping) and not root.entries.keys().isdisjoint(("apiVersion", "kind", "spec"))
