"""What has to be true of a configuration as a whole, beyond each of its values."""

from __future__ import annotations

from collections.abc import Mapping

from aegis.config.derive import prefix_of
from aegis.config.table import VARIABLES
from aegis.documents.contexts import check_contexts
from aegis.documents.problems import Note, Path, nearest
from aegis.documents.table import Reading

_OTHERS = ("AEGIS_API_URL", "AEGIS_API_TOKEN", "AEGIS_API_TOKEN_FILE")  # the command line's


def check(reading: Reading, environ: Mapping[str, str]) -> None:
    _envelope(reading)
    _models(reading)
    _fallbacks(reading)
    _store(reading)
    _credentials(reading)
    check_contexts(reading, prefix_of(reading))
    _variables(reading, environ)


def _envelope(reading: Reading) -> None:
    if ("spec",) in reading.places or ("kind",) in reading.places:
        for key, wanted in (("apiVersion", "100monkeys.ai/v1"), ("kind", "NodeConfig")):
            if not reading.knows((f"~{key}",)):
                reading.missing((key,), wanted)


def _models(reading: Reading) -> None:
    for target, said in list(reading.said.items()):
        if len(target) != 3 or target[0] != "models" or target[2] != "provider":
            continue
        alias: Path = target[:2]
        needed = "script" if said.value == "script" else "model"
        if not reading.knows((*alias, needed)):
            reading.missing((*said.path[:-1], needed), f"a {needed}: the provider is {said.value}")
        idle = reading.said.get((*alias, "model" if needed == "script" else "script"))
        if idle is not None:
            reading.problem(idle, f"no {idle.path[-1]}: the provider is {said.value}")


def _fallbacks(reading: Reading) -> None:
    """Each names an alias that is there, and following them ends."""
    aliases = {target[1] for target in reading.said if target[0] == "models"}
    for alias in sorted(map(str, aliases)):
        said = reading.said.get(("models", alias, "fallback"))
        if said is None:
            continue
        if said.value not in aliases:
            near = nearest(said.value, map(str, aliases))
            reading.problem(said, "the alias of another model", f"did you mean {near}?" if near else "")
        elif alias in _following(reading, said.value):
            reading.problem(said, "an alias whose own fallbacks do not lead back here")


def _following(reading: Reading, alias: str) -> set[str]:
    """`alias`, its fallback, that one's, and so on."""
    found: set[str] = set()
    following: str | None = alias
    while following is not None and following not in found:
        found.add(following)
        following = reading.get(("models", following, "fallback"))
    return found


def _store(reading: Reading) -> None:
    """A store that is named needs a login; one that only stands in the environment may be somebody else's."""
    said = reading.said.get(("secrets", "address"))
    if said is None or said.where.startswith("environment VAULT") or said.where.startswith("environment OPENBAO"):
        return
    for key, variable in (("role_id", "OPENBAO_ROLE_ID"), ("secret_id", "OPENBAO_SECRET_ID")):
        if not reading.knows(("secrets", key)):
            reading.missing((*said.path[:-1], key), f"the store's login, or {variable} in the environment")


def _credentials(reading: Reading) -> None:
    lines: dict[str, int] = {}
    for index in reading.indices(("registry_credentials",)):
        said = reading.said.get(("registry_credentials", index, "registry"))
        if said and said.value in lines:
            reading.problem(said, f"another registry than in line {lines[said.value]}")
        elif said:
            lines[said.value] = said.node.line


def _variables(reading: Reading, environ: Mapping[str, str]) -> None:
    """A misspelt variable would be a setting that silently is not one; but the environment is not ours alone."""
    sections = tuple({f"AEGIS_{name.split('_')[1]}_" for name in VARIABLES if name.count("_") > 1})
    for name in sorted(environ):
        if name.startswith(sections) and name not in VARIABLES and name not in _OTHERS:
            near = nearest(name, VARIABLES)
            hint = f"; did you mean {near}?" if near else ""
            reading.notes.append(Note(name, 0, f"no option has this environment variable{hint}"))
