"""The validators, with real processes for patterns and schemas."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.domain.manifest import (
    ExitCodeValidator,
    JsonSchemaValidator,
    RegexValidator,
    ScriptValidator,
    Validator,
    VolumeSpec,
)
from aegis.domain.validation import Verdict
from aegis.errors import ContainerFailed
from aegis.ports import FileRules
from aegis.services.judging.agents import JudgeAgents
from aegis.services.judging.candidate import Candidate, ScriptResult
from aegis.services.judging.jobs import Jobs
from aegis.services.judging.judges import Judges
from aegis.services.judging.validators import Panel
from aegis.services.model_calls import ModelCalls
from aegis.services.recorder import EventRecorder, Journal
from aegis.services.volumes import MountedVolume
from aegis.services.workspaces import Workspaces
from tests.support import samples
from tests.support.clock import FakeClock
from tests.support.fakes_gateway import FakeGateway
from tests.support.fakes_model import FakeModel, FakeModels
from tests.support.memory_store import MemoryStore

SCHEMA: dict[str, Any] = {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "integer"}}}
SCRIPT = ScriptValidator(command=("pytest", "-q"), timeout_seconds=30)


def candidate(
    final: str = "done", *, exit_code: int | None = 0, files: dict[str, bytes] | None = None, script: Any = None
) -> Candidate:
    volume = samples.volume()
    gateway = FakeGateway()
    gateway.storage[volume.id] = dict(files or {})
    attachment = samples.attachment(volume)
    gateway.attached[attachment.id] = (volume, FileRules())
    mounted = MountedVolume(VolumeSpec(name="w", mount_path="/workspace"), volume, attachment, volume.export_path)

    async def run_script(command: tuple[str, ...], timeout_seconds: float) -> ScriptResult:
        if isinstance(script, Exception):
            raise script
        return script or ScriptResult(0, "")

    return Candidate(
        execution=samples.execution(),
        iteration=1,
        final=final,
        exit_code=exit_code,
        files=Workspaces(gateway, [mounted]),
        mounted=[mounted],
        run_script=run_script,
        journal=Journal(EventRecorder(MemoryStore()), FakeClock(), ""),
    )


async def judge(validators: Validator | list[Validator], subject: Candidate, *, cpu_seconds: int = 5) -> Verdict:
    wanted = validators if isinstance(validators, list) else [validators]
    store, clock = MemoryStore(), FakeClock()
    calls = ModelCalls(store=store, models=FakeModels(FakeModel()), clock=clock)
    judges = Judges(models=calls, agents=JudgeAgents(store), clock=clock)
    return await Panel(Jobs(cpu_seconds=cpu_seconds), judges).judge(wanted, subject)


async def reason(validator: Validator, subject: Candidate) -> str:
    """Of a refusal; "" when it passed."""
    [judgement] = (await judge(validator, subject)).judgements
    assert judgement.score == float(judgement.passed)
    assert judgement.confidence == 1.0
    return judgement.reason


async def test_no_validators_pass_everything() -> None:
    assert (await judge([], candidate())).passed


async def test_exit_code() -> None:
    assert await reason(ExitCodeValidator(), candidate()) == ""
    assert await reason(ExitCodeValidator(expected=3), candidate(exit_code=3)) == ""
    assert "exit code 1, wanted 0" in await reason(ExitCodeValidator(), candidate(exit_code=1))


@pytest.mark.parametrize(
    ("final", "must_match", "passes"),
    [("it is 42", True, True), ("it is 43", True, False), ("it is 42", False, False), ("it is 43", False, True)],
)
async def test_regex_on_the_final_response(final: str, must_match: bool, passes: bool) -> None:
    why = await reason(RegexValidator(pattern=r"\b42$", must_match=must_match), candidate(final))
    assert (why == "") is passes


async def test_regex_on_a_file_whose_lines_count() -> None:
    validator = RegexValidator(pattern="^ok$", target="/workspace/log")
    assert await reason(validator, candidate(files={"log": b"start\nok\nend\n"})) == ""
    assert "the file /workspace/log has to match" in await reason(validator, candidate(files={"log": b"broken"}))
    assert await reason(validator, candidate()) == "the file /workspace/log does not exist"


async def test_a_pattern_that_backtracks_for_ever_is_a_refusal_with_its_reason() -> None:
    validator = RegexValidator(pattern=r"^(a+)+$")
    [judgement] = (await judge(validator, candidate("a" * 60 + "b"), cpu_seconds=1)).judgements
    assert not judgement.passed
    assert "stopped after 1 s of computing" in judgement.reason


async def test_a_pattern_that_is_none_is_a_refusal_with_its_reason() -> None:
    assert "the pattern cannot be used" in await reason(RegexValidator(pattern="("), candidate())


@pytest.mark.parametrize("final", ['{"answer": 42}', '```json\n{"answer": 42}\n```', ' ```\n{"answer": 42}\n``` \n'])
async def test_json_schema_on_the_final_response_plain_or_fenced(final: str) -> None:
    assert await reason(JsonSchemaValidator(json_schema=SCHEMA), candidate(final)) == ""


async def test_json_schema_says_where_and_what_is_wrong() -> None:
    validator = JsonSchemaValidator(json_schema=SCHEMA)
    assert "$.answer: 'x' is not of type 'integer'" in await reason(validator, candidate('{"answer": "x"}'))
    assert "'answer' is a required property" in await reason(validator, candidate("{}"))
    assert "is not JSON" in await reason(validator, candidate("here it is: {}"))
    assert "is not JSON" in await reason(validator, candidate("[" * 100_000))


async def test_json_schema_on_a_file() -> None:
    validator = JsonSchemaValidator(json_schema=SCHEMA, target="/workspace/out.json")
    assert await reason(validator, candidate(files={"out.json": b'{"answer": 1}'})) == ""
    assert await reason(validator, candidate()) == "the file /workspace/out.json does not exist"


async def test_a_schema_that_refers_to_the_network_is_refused_without_asking_it() -> None:
    validator = JsonSchemaValidator(json_schema={"$ref": "http://127.0.0.1:9/schema.json"})
    assert "the schema cannot be used" in await reason(validator, candidate("{}"))


async def test_a_schema_that_is_none_is_a_refusal_with_its_reason() -> None:
    validator = JsonSchemaValidator(json_schema={"type": "nonsense"})
    assert "the schema itself is wrong at $.type" in await reason(validator, candidate("{}"))


async def test_script_shows_the_end_of_its_output() -> None:
    assert await reason(SCRIPT, candidate()) == ""
    output = "x" * 10_000 + "\nE  assert 1 == 2"
    why = await reason(SCRIPT, candidate(script=ScriptResult(1, output)))
    assert why.startswith("`pytest -q` ended with exit code 1:\n")
    assert why.endswith("E  assert 1 == 2")
    assert len(why) < 3_000
    why = await reason(SCRIPT, candidate(script=ScriptResult(0, "", timed_out=True)))
    assert why == "`pytest -q` was not done within 30 s:\n(no output)"


async def test_a_script_that_could_not_be_run_is_no_bad_score() -> None:
    with pytest.raises(ContainerFailed):
        await judge(SCRIPT, candidate(script=ContainerFailed("engine away")))


async def test_cheap_ones_come_first_and_the_first_refusal_ends_it() -> None:
    validators: list[Validator] = [
        SCRIPT,
        JsonSchemaValidator(json_schema=SCHEMA),
        RegexValidator(pattern="answer"),
        ExitCodeValidator(),
    ]
    verdict = await judge(validators, candidate('{"answer": 1}'))
    assert [each.validator for each in verdict.judgements] == [
        "exit_code[3]",
        "regex[2]",
        "json_schema[1]",
        "script[0]",
    ]
    assert (verdict.passed, verdict.score) == (True, 1.0)
    verdict = await judge(validators, candidate('{"answer": "x"}'))
    assert [each.passed for each in verdict.judgements] == [True, True, False]
    assert (verdict.passed, verdict.score) == (False, 0.0)
