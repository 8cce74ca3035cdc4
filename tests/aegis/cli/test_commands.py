"""The command line as a user has it: processes against a real server; what they print and how they end."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from aegis.errors import DatabaseUnavailable
from aegis.ports import ModelUsage
from tests.aegis.cli.conftest import Run
from tests.support.small_world import World

NOUNS = ["agent", "task", "volume", "config", "daemon", "doctor"]


async def test_help_names_every_noun_and_the_exit_codes(run: Run) -> None:
    ended = await run("--help")
    assert ended.code == 0
    for noun in NOUNS:
        assert noun in ended.out
    assert "5 daemon not reachable" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    "command",
    [
        *(["agent", name] for name in ("deploy", "list", "show", "remove", "explain")),
        *(
            ["task", name]
            for name in ("execute", "status", "logs", "cancel", "list", "timeline", "diff", "export", "replay")
        ),
        *(["volume", name] for name in ("list", "create", "show", "ls", "cp", "delete")),
        *(["daemon", name] for name in ("start", "stop", "status", "install")),
        ["config", "validate"],
        ["config", "explain"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_every_command_has_an_example_in_its_help(command: list[str]) -> None:
    import typer.testing

    from aegis.cli.main import app

    result = typer.testing.CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.output


def test_help_needs_none_of_the_heavy_libraries() -> None:
    import subprocess
    import sys

    heavy = ["aiohttp", "pydantic", "sqlalchemy", "openai", "yaml", "aiodocker"]
    script = f"import sys, aegis.cli.main; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


async def test_an_agent_from_deployment_to_removal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hello.yaml").write_text("name: hello\n")
    ended = await run("agent", "deploy", "hello.yaml")
    assert (ended.code, ended.out.split()[:2]) == (0, ["deployed", "hello"])
    ended = await run("agent", "list")
    assert ended.out.splitlines()[0].split() == ["NAME", "VERSION", "DEPLOYED", "ID", "DESCRIPTION"]
    ended = await run("agent", "show", "hello", "--output", "json")
    assert json.loads(ended.out)["name"] == "hello"
    assert (await run("agent", "show", "hello")).out.startswith("name")
    assert (await run("agent", "remove", "hello")).code == 0
    ended = await run("agent", "show", "hello")
    assert ended.code == 3
    assert "next: aegis agent list" in ended.err


async def test_a_manifest_from_standard_input(run: Run) -> None:
    ended = await run("agent", "deploy", "-", "-o", "json", stdin=b"name: piped\n")
    assert json.loads(ended.out)["name"] == "piped"


async def test_a_refused_manifest_shows_every_problem_and_ends_with_4(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("nome: x\n")
    ended = await run("agent", "deploy", "bad.yaml")
    assert (ended.code, ended.out) == (4, "")
    assert "line 1, column 1: name: found nothing, wanted a name" in ended.err
    ended = await run("agent", "deploy", "bad.yaml", "--output", "json")
    assert json.loads(ended.err)["code"] == "invalid_manifest"


async def test_following_an_execution_shows_its_iterations_and_their_verdicts(run: Run, world: World) -> None:
    world.supervisor.finish_at_once = True
    await run("agent", "deploy", "-", stdin=b"name: hello\n")
    ended = await run("task", "execute", "hello", "do it", "--follow")
    assert ended.code == 0, ended.err
    lines = [line.strip() for line in ended.out.splitlines()]
    assert lines[1:] == [
        "iteration 1",
        "container aegis-agent-c started",
        "$ python3",
        "iteration 1: not there yet, refining",
        "iteration 2",
        "container aegis-agent-c started",
        "$ python3",
        "iteration 2: passed",
        "execution completed",
        "completed in 2 iterations",
        "done",
    ]
    assert "\x1b" not in ended.out


async def test_an_execution_by_the_beginning_of_its_id(run: Run, world: World) -> None:
    execution = await world.running_execution()
    await world.supervisor.run_wrong_then_right(execution.id)
    ended = await run("task", "status", execution.id[:8])
    assert "expected 42, got 41" in ended.out
    ended = await run("task", "logs", execution.id[:8], "--output", "json")
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, 11))
    assert (await run("task", "status", "abc")).code == 2
    assert (await run("task", "status", "ffffffff-none")).code == 3


async def test_what_an_execution_has_used_is_shown_in_all_and_for_each_iteration(run: Run, world: World) -> None:
    execution = await world.running_execution()
    await world.supervisor.run_wrong_then_right(execution.id)
    world.store.usage[execution.id] = [
        ModelUsage(1, "default", 3, 12_000, 400, 0.042),
        ModelUsage(2, "default", 1, 1_000, 10, 0.003),
        ModelUsage(2, "local", 1, 500, 10),
    ]
    ended = await run("task", "status", execution.id)
    assert "5 answers, 13,500 tokens in, 420 out, cost 0.0450" in ended.out
    assert "  3 answers, 12,000 tokens in, 400 out, cost 0.0420" in ended.out.splitlines()
    view = json.loads((await run("task", "status", execution.id, "--output", "json")).out)
    assert view["usage"] == {"calls": 5, "input_tokens": 13_500, "output_tokens": 420, "cost": pytest.approx(0.045)}
    assert view["iterations"][1]["usage"]["calls"] == 2


async def test_a_cancelled_execution_cannot_be_cancelled_again(run: Run, world: World) -> None:
    execution = await world.running_execution()
    ended = await run("task", "cancel", execution.id)
    assert (ended.code, ended.out) == (0, f"{execution.id} is cancelled\n")
    assert (await run("task", "cancel", execution.id)).code == 4
    ended = await run("task", "list", "--state", "cancelled")
    assert execution.id in ended.out


async def test_a_container_cannot_write_to_the_terminal(run: Run, world: World) -> None:
    execution = await world.running_execution()
    await world.supervisor.say(execution.id, "dispatch.completed", 1, stdout="\x1b]0;owned\x07ok\n", exit_code=0)
    ended = await run("task", "logs", execution.id)
    assert ended.out.splitlines()[-1] == "    ]0;ownedok"


async def test_volumes_and_their_files(run: Run, tmp_path: Path) -> None:
    assert (await run("volume", "create", "data", "--size", "1Ki")).code == 0
    (tmp_path / "in.bin").write_bytes(bytes(range(256)))
    assert (await run("volume", "cp", "in.bin", "data:")).code == 0
    assert (await run("volume", "cp", "data:/in.bin", "out.bin")).code == 0
    assert (tmp_path / "out.bin").read_bytes() == bytes(range(256))
    assert (await run("volume", "ls", "data")).out.split()[-1] == "in.bin"
    assert "256 B in 1 files" in (await run("volume", "show", "data")).out
    assert (await run("volume", "ls", "data:/in.bin")).code == 4
    assert (await run("volume", "cp", "in.bin", "out.bin")).code == 2
    assert (await run("volume", "create", "more", "--size", "lots")).code == 2
    assert (await run("volume", "delete", "data")).code == 2
    assert (await run("volume", "delete", "data", "--yes")).code == 0
    assert (await run("volume", "show", "data")).code == 3


async def test_without_a_daemon_it_says_how_to_start_one_and_ends_with_5(run: Run) -> None:
    ended = await run("agent", "list", AEGIS_API_URL="http://127.0.0.1:9")
    assert ended.code == 5
    assert "aegis daemon start" in ended.err
    ended = await run("--url", "http://127.0.0.1:9", "task", "list", "-o", "json")
    assert (ended.code, json.loads(ended.err)["code"]) == (5, "unreachable")


async def test_an_address_that_is_none_is_a_usage_error(run: Run) -> None:
    for url in ("ftp://x", "localhost:8080", "http://x:port"):
        assert (await run("agent", "list", AEGIS_API_URL=url)).code == 2


async def test_without_a_token_the_daemon_refuses_and_says_what_is_missing(run: Run) -> None:
    ended = await run("agent", "list", AEGIS_API_TOKEN="")
    assert ended.code == 4
    assert "API token" in ended.err


async def test_the_token_file_of_the_same_user_is_found(run: Run, tmp_path: Path) -> None:
    from tests.support.small_world import API_TOKEN

    directory = tmp_path / ".local" / "state" / "aegis"
    directory.mkdir(parents=True)
    (directory / "api-token").write_text(API_TOKEN + "\n")
    assert (await run("agent", "list", AEGIS_API_TOKEN="")).code == 0


async def test_the_daemons_state_is_told_with_what_is_missing(run: Run, world: World) -> None:
    assert (await run("daemon", "status")).code == 0
    world.down["database"] = DatabaseUnavailable("nobody at 5432", next_step="systemctl start postgresql")
    while True:  # health is asked anew once a second
        ended = await run("daemon", "status")
        if ended.code != 0:
            break
    assert ended.code == 1
    assert "systemctl start postgresql" in ended.out


async def test_a_daemon_nobody_started_cannot_be_stopped(run: Run) -> None:
    assert (await run("daemon", "stop")).code == 3


async def test_the_daemon_refuses_to_run_as_root(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be refused for being root")
    ended = await run("daemon")
    assert ended.code == 4
    assert "--allow-root" in ended.err


async def test_a_reader_that_leaves_early_gets_no_traceback(
    run: Run, world: World, environment: dict[str, str]
) -> None:
    import asyncio
    import sys

    execution = await world.running_execution()
    for number in range(400):
        await world.supervisor.say(execution.id, "dispatch.completed", 1, stdout=f"line {number}\n" * 20, exit_code=0)
    command = f"{sys.executable} -m aegis task logs {execution.id} | head -1"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (out, err) == (b"    line 0\n", b"")


async def test_a_judges_execution_says_whom_it_judges_and_not_the_whole_dossier(run: Run, world: World) -> None:
    execution = await world.running_execution("reviewer")
    world.store.executions[execution.id] = replace(execution, input="a long dossier", parent_id="0123-parent")
    for command in (("task", "list"), ("task", "status", execution.id)):
        ended = await run(*command)
        assert "to judge 0123-parent" in ended.out
        assert "dossier" not in ended.out
