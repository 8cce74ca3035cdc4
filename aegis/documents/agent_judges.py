"""What has to be true of validators that ask judges: rules over more than one key of `spec.execution.validation[]`."""

from __future__ import annotations

from aegis.documents.problems import Path
from aegis.documents.table import Reading, Said
from aegis.domain.manifest import DEFAULT_MODEL, ConsensusMode

VALIDATORS: Path = ("execution", "validators")
PLACE: Path = ("spec", "execution", "validation")


def check(reading: Reading) -> None:
    for index in reading.indices(VALIDATORS):
        validator = (*VALIDATORS, index)
        kind = reading.get((*validator, "type"))
        if kind == "semantic":
            _one_or_the_other(reading, (*validator, "judge"))
        elif kind == "multi_judge":
            _panel(reading, validator, (*PLACE, index))


def _one_or_the_other(reading: Reading, judge: Path) -> None:
    agent, model = (reading.said.get((*judge, key)) for key in ("agent", "model_alias"))
    if agent and model:
        reading.problem(model, f"either a model or an agent, and line {agent.node.line} names an agent")


def _panel(reading: Reading, validator: Path, place: Path) -> None:
    judges = reading.indices((*validator, "judges"))
    if not judges:
        if not reading.knows(("~judges", validator[-1])):
            reading.missing((*place, "judges"), "one to 16 judges", "judges: [reviewer, {model: fast}]")
        return
    seen: dict[str, int] = {}
    for number in judges:
        judge = (*validator, "judges", number)
        _one_or_the_other(reading, judge)
        said = _named(reading, judge)
        name = said.value if said else DEFAULT_MODEL
        if seen.setdefault(name, number) != number and said:
            reading.problem(said, f"another name than judge {seen[name] + 1} has", "give each judge a name")
    _counts(reading, validator, place, len(judges))


def _named(reading: Reading, judge: Path) -> Said | None:
    """What verdicts will call it."""
    found = (reading.said.get((*judge, key)) for key in ("name", "agent", "model_alias"))
    return next(filter(None, found), None)


def _counts(reading: Reading, validator: Path, place: Path, judges: int) -> None:
    n = reading.said.get((*validator, "n"))
    best = reading.get((*validator, "consensus")) == ConsensusMode.BEST_OF_N
    if best and not reading.knows((*validator, "n")):
        reading.missing((*place, "n"), f"with best_of_n how many judges count, 1 to {judges}")
    elif n and not best:
        reading.problem(n, "no n unless consensus is best_of_n")
    for said in (n, reading.said.get((*validator, "min_judges_required"))):
        if said and said.value > judges:
            reading.problem(said, f"at most {judges}: there are no more judges")
