"""A command's output while it runs: for people who follow, bounded, and never in the way of the result."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aegis.api.wire import DISPATCH_MESSAGE
from tests.support.bootstraps import Bootstrap, Orchestrator

# Ends when somebody opens `go` for writing: after the output has been heard.
UNTIL_GO = "read x < go; echo last"


async def follow(bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, directory: Path, script: str) -> None:
    """Runs `script` and then waits, in the command, until its output has been heard here."""
    os.mkfifo(directory / "go")
    orchestrator.cwd = str(directory)
    orchestrator.commands = [["sh", "-c", f"{script}; {UNTIL_GO}"]]
    process = await bootstrap.start(port)
    await asyncio.wait_for(orchestrator.heard.wait(), 60)
    await asyncio.to_thread((directory / "go").write_text, "now\n")
    assert process.stdout is not None
    log = await process.stdout.read()
    assert await process.wait() == 0, log.decode()


async def test_it_is_told_before_the_command_ends(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path
) -> None:
    await follow(bootstrap, orchestrator, port, tmp_path, r"printf 'begun \344\366'; echo err >&2")
    first = orchestrator.outputs[0]
    DISPATCH_MESSAGE.validate_python(first)
    assert first == {
        "type": "dispatch_output",
        "execution_id": "e-1",
        "dispatch_id": "d-0",
        "sequence": 0,
        "stdout": "begun \ufffd" if len(first["stdout"]) == 7 else "begun \ufffd\ufffd",
        "stderr": "err\n",
        "skipped_bytes": 0,
    }
    (result,) = orchestrator.taken.values()
    assert result["stdout"] == "begun \ufffd\ufffdlast\n"


async def test_a_character_is_not_cut_in_two(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path
) -> None:
    await follow(bootstrap, orchestrator, port, tmp_path, r"printf 'half \342\202'")
    assert orchestrator.outputs[0]["stdout"] == "half "


async def test_it_is_a_tail_that_says_what_it_leaves_out(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path
) -> None:
    await follow(bootstrap, orchestrator, port, tmp_path, "head -c 100000 /dev/zero | tr '\\0' x")
    told = sum(len(each["stdout"]) for each in orchestrator.outputs)
    skipped = sum(each["skipped_bytes"] for each in orchestrator.outputs)
    assert max(len(each["stdout"]) for each in orchestrator.outputs) <= 8192
    assert told + skipped in (100_000, 100_005)  # with or without the last line


async def test_whoever_does_not_want_it_is_asked_once(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path
) -> None:
    orchestrator.refuses_output = True
    await follow(bootstrap, orchestrator, port, tmp_path, "echo begun")
    orchestrator.commands = [["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.3; done"]]
    orchestrator.outputs.clear()
    orchestrator.taken.clear()
    assert (await bootstrap.run(port)).code == 0
    assert len(orchestrator.outputs) == 1
    (result,) = orchestrator.taken.values()
    assert result["stdout"] == "1\n2\n3\n4\n5\n6\n7\n8\n"


async def test_a_short_command_tells_its_result_only(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int
) -> None:
    ended = await bootstrap.run(port)
    assert (ended.code, orchestrator.outputs) == (0, [])
