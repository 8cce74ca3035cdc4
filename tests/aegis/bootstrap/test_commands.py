"""Running what a dispatch says: real commands, and whatever goes wrong with them is a result the model can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from aegis.bootstrap.bootstrap import Commands


@pytest.fixture
def run(tmp_path: Path) -> Any:
    commands = Commands()

    def run(command: object, *args: object, **changes: object) -> dict[str, Any]:
        dispatch = {"action": "exec", "command": command, "args": list(args), "cwd": str(tmp_path), **changes}
        return commands.run(dispatch)

    yield run
    commands.kill_all()


def shell(text: str) -> tuple[str, str, str]:
    return "sh", "-c", text


def test_output_and_exit_code_come_back(run: Any) -> None:
    result = run(*shell("echo out; echo err >&2; exit 3"))
    assert (result["exit_code"], result["stdout"], result["stderr"]) == (3, "out\n", "err\n")
    assert result["truncated"] is False
    assert result["duration_ms"] >= 0


def test_arguments_are_never_a_shells(run: Any, tmp_path: Path) -> None:
    assert run("echo", "$HOME; touch x", "*")["stdout"] == "$HOME; touch x *\n"
    assert list(tmp_path.iterdir()) == []


def test_a_signal_is_told_as_shells_do(run: Any) -> None:
    assert run(*shell("kill -KILL $$"))["exit_code"] == 137


def test_a_command_that_is_not_there_is_127(run: Any) -> None:
    result = run("no-such-command")
    assert (result["exit_code"], result["stderr"]) == (127, "no-such-command: command not found")


def test_a_file_that_is_no_program_is_126(run: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    assert run("./data")["exit_code"] == 126
    (tmp_path / "data").chmod(stat.S_IRWXU)
    assert run("./data")["exit_code"] == 126
    assert run("echo", "a\0b")["exit_code"] == 126
    assert run("echo", "x" * 200_000)["exit_code"] == 126


def test_a_directory_that_is_not_there_is_named(run: Any) -> None:
    result = run("true", cwd="/no/such")
    assert (result["exit_code"], "/no/such" in result["stderr"]) == (-1, True)


@pytest.mark.parametrize("action", ["reboot", None, 7])
def test_an_unknown_action_is_told_by_name(run: Any, action: object) -> None:
    result = run("true", action=action)
    assert (result["exit_code"], result["stderr"]) == (-1, f"unknown_action:{action}")


@pytest.mark.parametrize(("command", "args"), [(None, []), (["ls"], []), ("ls", "-l")])
def test_a_malformed_dispatch_is_a_result_too(run: Any, command: object, args: object) -> None:
    assert run(command, args=args)["exit_code"] == -1


def test_a_timeout_kills_the_whole_group_and_keeps_what_was_said(run: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    reader = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    grandchild = "exec 5> held; echo up >&5; sleep 1000; true"
    result = run(*shell(f"echo before; sh -c '{grandchild}' & wait"), timeout_secs=1.5)
    assert (result["exit_code"], result["stdout"]) == (-1, "before\n")
    assert result["stderr"] == "timed out after 1.5 s and was killed"
    assert os.read(reader, 10) == b"up\n"
    assert os.read(reader, 10) == b""  # the end: nobody holds the other side any more; a blocked read would be EAGAIN
    os.close(reader)


def test_output_is_bounded_while_it_is_read_and_keeps_the_tail(run: Any) -> None:
    result = run(*shell("yes x | head -c 50000000; echo end; echo fine >&2"), max_output_bytes=1000, timeout_secs=60)
    assert len(result["stdout"]) == 1000
    assert result["stdout"].endswith("x\nend\n")
    assert (result["stderr"], result["truncated"]) == ("fine\n", True)


def test_a_dispatch_cannot_ask_for_boundless_output(run: Any) -> None:
    result = run(*shell("yes x | head -c 9000000"), max_output_bytes=10**12, timeout_secs=60)
    assert len(result["stdout"]) == 4 * 1024 * 1024


def test_bytes_that_are_no_text_are_replaced(run: Any) -> None:
    assert run("printf", r"a\377b\000c")["stdout"] == "a\ufffdb\ufffdc"


def test_additions_reach_the_command_and_the_token_does_not(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEGIS_DISPATCH_TOKEN", "secret")
    output = run("env", env_additions={"EXTRA": "1"})["stdout"]
    assert "EXTRA=1\n" in output
    assert "secret" not in output


def test_standard_input_is_empty(run: Any) -> None:
    assert run("cat")["exit_code"] == 0


def test_a_process_left_behind_neither_holds_the_result_nor_dies_of_its_pipe(run: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "done")
    result = run(*shell("(read x < go; yes line | head -1000; echo $? > done) & echo started"))
    assert (result["exit_code"], result["stdout"]) == (0, "started\n")
    (tmp_path / "go").write_text("now\n")
    assert (tmp_path / "done").read_text() == "0\n"


def test_no_descriptor_is_left_open(run: Any) -> None:
    run("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        run("true")
    assert len(os.listdir("/proc/self/fd")) <= before
